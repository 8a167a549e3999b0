// What the panel knows. `fold` is the only way in: a pure function of what was known and one message.

export const SIDES = ["model", "live"];
export const CURVES = ["throughput", "p50", "p95", "depth", "rss", "retries"];
export const SIDE_NAMES = { model: "Model", live: "Live" };

const EVENTS_KEPT = 200;
/** Versions remembered of tasks that no card shows any more: a late update of one of them is still told apart. */
const VERSIONS_KEPT = 2_000;

/** Nothing known: before the first message of a connection, which tells everything. */
export function blank() {
  return { n: -1, at: 0, session: null, model: null, live: null };
}

/** What is known after one more message of the stream. A message that is older than what is shown changes nothing. */
export function fold(state, message) {
  const session = message.session;
  const same = state.session !== null && state.session.id === session.id;
  if (same && message.n <= state.n) return state;
  const next = { n: message.n, at: message.at, session, model: null, live: null };
  for (const side of SIDES) {
    const frame = message[side];
    const known = same ? state[side] : null;
    // Null says that there is nothing new: what is shown of a session stays until another one begins.
    next[side] = frame ? foldSide(known, frame) : known;
  }
  return next;
}

function foldSide(known, frame) {
  const versions = new Map(known ? known.versions : []);
  const roles = frame.roles.map((role) => ({
    ...role,
    pending_cards: newest(role.pending_cards, versions),
    running_cards: newest(role.running_cards, versions),
    finished_cards: newest(role.finished_cards, versions),
  }));
  return {
    ...frame,
    roles,
    versions: bounded(versions),
    series: merged(known ? known.series : null, frame.bins),
    events: [...(known ? known.events : []), ...frame.events].slice(-EVENTS_KEPT),
  };
}

/** The cards that are not older than what was shown of their task already. */
function newest(cards, versions) {
  return cards.filter((card) => {
    const shown = versions.get(card.id);
    if (shown !== undefined && card.v < shown) return false;
    versions.delete(card.id); // so that those told of last stand last
    versions.set(card.id, card.v);
    return true;
  });
}

function bounded(versions) {
  for (const id of versions.keys()) {
    if (versions.size <= VERSIONS_KEPT) break;
    versions.delete(id);
  }
  return versions;
}

/** The curves, with the bins from `bins.first` on replaced. */
function merged(series, bins) {
  const next = { width_s: bins.width_s };
  for (const name of CURVES) {
    const old = series ? series[name] : [];
    const kept = old.slice(0, bins.first);
    while (kept.length < bins.first) kept.push(null);
    next[name] = kept.concat(bins[name]);
  }
  return next;
}

/** Whether a session is under way. */
export const isOn = (session) => session !== null && ["starting", "running", "stopping"].includes(session.state);

/** The events of both sides, the newest first. */
export function events(state) {
  const told = SIDES.flatMap((side) => (state[side] ? state[side].events.map((event) => ({ ...event, side })) : []));
  return told.sort((one, other) => other.t - one.t || other.n - one.n);
}

/** The strikes of both sides, the newest first: [{key, t, what, model, live}]. The same fault meets both. */
export function strikes(state) {
  const paired = new Map();
  for (const side of SIDES) {
    const met = new Map();
    for (const strike of state[side]?.strikes ?? []) {
      const times = (met.get(strike.what) ?? 0) + 1;
      met.set(strike.what, times);
      const key = `${strike.what} #${times}`;
      const pair = paired.get(key) ?? { key, t: strike.t, what: strike.what, model: null, live: null };
      pair[side] = strike;
      paired.set(key, pair);
    }
  }
  return [...paired.values()].sort((one, other) => other.t - one.t);
}
