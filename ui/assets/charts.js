// The moving curves: model and live overlaid, one time axis and one cursor for all.

import uPlot from "./uplot.js";
import { el, setText } from "./dom.js";
import { SIDES, SIDE_NAMES } from "./state.js";
import { mib, number, perSecond, seconds, count } from "./words.js";

const MIB = 1024 * 1024;
/** What is kept free right of now, as a share of the window: the model may have run ahead. */
const AHEAD_SHARE = 0.25;
const MARGIN_SHARE = 0.03;
const SPAN_S_MIN = 15;
export const WINDOWS = [
  { name: "1 min", span_s: 60 },
  { name: "5 min", span_s: 300 },
  { name: "All", span_s: Infinity },
];

const SPECS = [
  { curve: "depth", title: "Queue depth", unit: "tasks", show: count, help: "Tasks in state PENDING, held ones too." },
  { curve: "throughput", title: "Throughput", unit: "tasks/s", show: perSecond, help: "Tasks completed per second." },
  {
    curve: "p50",
    title: "Latency p50",
    unit: "s",
    show: seconds,
    help: "Median of done − scheduled arrival, of tasks completed in the last 2 s.",
  },
  {
    curve: "p95",
    title: "Latency p95",
    unit: "s",
    show: seconds,
    help: "95th percentile of done − scheduled arrival, of tasks completed in the last 2 s.",
  },
  {
    curve: "rss",
    title: "Memory",
    unit: "MiB RSS",
    show: mib,
    scale: 1 / MIB,
    help: "Resident memory of all workers.",
  },
  {
    curve: "retries",
    title: "Retries",
    unit: "/s",
    show: perSecond,
    help: "Failures per second that wait for a retry.",
  },
];

/** The charts in `parent`. Returns {paint(state), retheme(), stop()}. */
export function charts(parent) {
  const sync = uPlot.sync(`mesh-${Math.random().toString(36).slice(2)}`);
  const look = { window: WINDOWS[0], now: 0, ahead: false, colours: coloursOf(parent) };
  const all = SPECS.map((spec) => chart(parent, spec, look, sync.key));
  const sizes = new ResizeObserver(() => all.forEach((one) => one.fit()));
  all.forEach((one) => sizes.observe(one.place));
  return {
    paint: (state) => {
      const span = axis(state, look);
      all.forEach((one) => one.paint(state, span));
    },
    choose: (window) => {
      look.window = window;
    },
    retheme: () => {
      look.colours = coloursOf(parent);
      all.forEach((one) => one.plot.redraw(false));
    },
    stop: () => {
      sizes.disconnect();
      all.forEach((one) => one.plot.destroy());
    },
  };
}

/** The part of the session that is in view, as [from, how long, width of a bin] in seconds. */
function axis(state, look) {
  const width_s = state.model?.series.width_s ?? state.live?.series.width_s ?? 0.5;
  const told_s = width_s * Math.max(0, ...SIDES.map((side) => state[side]?.series.depth.length ?? 0));
  look.now = state.session?.t || 0;
  look.ahead = told_s > look.now + 4 * width_s;
  const share = look.ahead ? AHEAD_SHARE : MARGIN_SHARE;
  // A young session fills the whole width: the window widens with it, a second at a time (each step draws all anew).
  const needed = Number.isFinite(look.window.span_s) ? look.now / (1 - share) : Math.max(look.now, told_s);
  const span = Math.min(look.window.span_s, Math.max(SPAN_S_MIN, Math.ceil(needed)));
  const to = Number.isFinite(look.window.span_s) ? Math.max(span, look.now + span * share) : span;
  return [to - span, span, width_s];
}

function chart(parent, spec, look, syncKey) {
  const values = Object.fromEntries(SIDES.map((side) => [side, el("span", { class: `value ${side}` })]));
  const place = el("div", { class: "plot", role: "img", "aria-label": `${spec.title}, model and live. ${spec.help}` });
  const title = el("span", { class: "chart-title", text: spec.title });
  const head = el("div", { class: "chart-head", title: spec.help }, title);
  head.append(el("span", { class: "unit", text: spec.unit }), values.model, values.live);
  parent.append(el("div", { class: "chart card-surface" }, head, place));

  let data = [[0], [null], [null]];
  const plot = new uPlot(
    options(spec, look, syncKey, () => readOut()),
    data,
    place,
  );
  const readOut = () => {
    const at = plot?.cursor?.idx;
    SIDES.forEach((side, i) => {
      const shown = at === null || at === undefined ? last(data[i + 1]) : data[i + 1][at];
      const value = shown === null || shown === undefined ? NaN : shown / (spec.scale ?? 1);
      setText(values[side], spec.show(value));
      values[side].title = `${SIDE_NAMES[side]}: ${spec.title.toLowerCase()}`;
    });
  };
  const fit = () => {
    const { width, height } = place.getBoundingClientRect();
    if (width > 0 && height > 0) plot.setSize({ width: Math.floor(width), height: Math.floor(height) });
  };
  let drawn = "";
  const paint = (state, [from, span, width_s]) => {
    // A window that moves on by less than a pixel looks the same: most paints need not draw every chart.
    const step = span / Math.max(1, plot.width);
    const min = Math.floor(from / step) * step;
    const next = visible(state, spec, min, min + span, width_s);
    const now = `${min} ${span} ${look.ahead ? look.now : ""}`;
    if (now === drawn && same(next, data)) return;
    drawn = now;
    data = next;
    plot.batch(() => {
      plot.setData(data, false);
      plot.setScale("x", { min, max: min + span });
    });
    readOut();
  };
  return { place, plot, fit, paint };
}

/** The columns that uPlot wants, of the bins in view only: [ends of the bins, model, live]. */
function visible(state, spec, from, to, width_s) {
  const first = Math.max(0, Math.floor(from / width_s) - 1);
  const beyond = Math.ceil(to / width_s) + 1;
  const columns = SIDES.map((side) => state[side]?.series[spec.curve].slice(first, beyond) ?? []);
  const length = Math.max(1, ...columns.map((column) => column.length));
  const ends = Array.from({ length }, (_, i) => (first + i + 1) * width_s);
  const scaled = columns.map((column) =>
    Array.from({ length }, (_, i) =>
      column[i] === null || column[i] === undefined ? null : column[i] * (spec.scale ?? 1),
    ),
  );
  return [ends, ...scaled];
}

/** Whether two sets of columns are equal. */
function same(one, other) {
  return one.every(
    (column, c) => column.length === other[c].length && column.every((value, i) => value === other[c][i]),
  );
}

function last(column) {
  for (let i = column.length - 1; i >= 0; i--) if (column[i] !== null) return column[i];
  return null;
}

function options(spec, look, syncKey, onCursor) {
  const muted = () => look.colours.muted;
  const grid = { stroke: () => look.colours.grid, width: 1 };
  const axisOf = (more) => ({
    stroke: muted,
    font: "10px system-ui, sans-serif",
    grid,
    ticks: { show: false },
    ...more,
  });
  return {
    width: 240,
    height: 80,
    legend: { show: false },
    padding: [6, 14, 0, 0],
    cursor: { sync: { key: syncKey, setSeries: false }, points: { size: 5 }, drag: { x: false, y: false }, y: false },
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, roundUp(high)] } },
    axes: [
      axisOf({ size: 17, gap: 3, space: 60, values: (_, ticks) => ticks.map((at) => `${at} s`) }),
      axisOf({ size: 36, gap: 3, space: 22, values: (_, ticks) => ticks.map(short) }),
    ],
    series: [
      {},
      {
        stroke: () => look.colours.model,
        fill: () => look.colours.modelFill,
        width: 1.75,
        dash: [5, 3],
        points: { show: false },
      },
      { stroke: () => look.colours.live, width: 1.75, points: { show: false } },
    ],
    hooks: { setCursor: [onCursor], draw: [(plot) => drawNow(plot, look)] },
  };
}

/** A line at this moment, once the model has run ahead of it. */
function drawNow(plot, look) {
  if (!look.ahead) return;
  const { ctx, bbox } = plot;
  const x = Math.round(plot.valToPos(look.now, "x", true));
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  ctx.save();
  ctx.fillStyle = look.colours.muted;
  ctx.fillRect(x, bbox.top, Math.max(1, devicePixelRatio), bbox.height);
  ctx.font = `${9 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.fillText("now", x + 3 * devicePixelRatio, bbox.top + 9 * devicePixelRatio);
  ctx.restore();
}

/** The top of an axis: the next of 1, 1.5, 2, 3, 4, 5, 6, 8 × 10ⁿ above the data, so that it changes seldom. */
function roundUp(high) {
  if (!Number.isFinite(high) || high <= 0) return 1;
  const wanted = high * 1.08;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * power >= wanted) ?? 10;
  return step * power;
}

const short = (value) => (value >= 1000 ? `${number(value / 1000)}k` : `${+value.toPrecision(3)}`);

/** Colours of this theme: a canvas knows no CSS variables. */
function coloursOf(node) {
  const style = getComputedStyle(node);
  const read = (name) => style.getPropertyValue(name).trim();
  const model = read("--model");
  return { model, modelFill: `${model}1f`, live: read("--live"), muted: read("--muted"), grid: read("--grid") };
}
