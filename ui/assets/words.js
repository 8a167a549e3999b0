// Numbers and states in words.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const MIB = 1024 * 1024;
export const NONE = "–";

/** A whole number with thousands marked: 12,345. */
export const count = (value) => (Number.isFinite(value) ? WHOLE.format(value) : NONE);

/** Three significant digits at most, never an exponent. */
export function number(value) {
  if (!Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1000) return WHOLE.format(value);
  return value.toFixed(size >= 99.95 || value === 0 ? 0 : size >= 9.995 ? 1 : 2);
}

/** Seconds: 340 ms, 2.35 s. */
export function seconds(value) {
  if (!Number.isFinite(value)) return NONE;
  return Math.abs(value) < 0.0995 && value !== 0 ? `${number(value * 1000)} ms` : `${number(value)} s`;
}

export const perSecond = (value) => (Number.isFinite(value) ? `${number(value)}/s` : NONE);
export const mib = (bytes) => (Number.isFinite(bytes) ? `${count(bytes / MIB)} MiB` : NONE);

/** A share as CSS wants it, in tenths of a percent: 41.7%. */
export const share = (value) => `${(100 * Math.min(1, Math.max(0, value || 0))).toFixed(1)}%`;

/** A clock: 0:12.3, then 4:05. */
export function clock(value) {
  if (!Number.isFinite(value)) return NONE;
  const minutes = Math.floor(value / 60);
  const rest = value - 60 * minutes;
  return `${minutes}:${rest.toFixed(1).padStart(4, "0")}`;
}

export const STATES = {
  PENDING: "pending",
  RUNNING: "running",
  RETRY_WAIT: "backing off",
  COMPLETED: "completed",
  PERMANENT_FAILURE: "dead letter",
  CANCELLED: "cancelled",
};

/** One task in words. */
export function story(card) {
  const where = card.w ? ` on ${card.w}` : "";
  const attempt = card.a > 0 ? `, attempt ${card.a}` : "";
  const state = `${STATES[card.s] ?? card.s}${where}`;
  return `Task ${card.id}: ${state}, priority ${card.p}${attempt}, since ${number(card.t)} s`;
}
