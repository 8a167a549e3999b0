// The command center: one component that fills the page of the mesh. Frames come in (stream.js), are folded into what
// is known (state.js, pure), and are painted at most once a message, in the browser's own rhythm.

import { charts, WINDOWS } from "./charts.js";
import { controlBar, segmented } from "./bar.js";
import { el, setAttr, setText } from "./dom.js";
import { lanes } from "./lanes.js";
import { chaos, knobs } from "./rail.js";
import { blank, fold, isOn } from "./state.js";
import { header, helpDialog, log, totals, welcome } from "./story.js";
import { listen, send } from "./stream.js";
import { workers } from "./workers.js";

const HERE = new URL(".", import.meta.url);
const STREAM = "/lab/mesh/stream";
const COMMAND = "/lab/mesh/command";
const SHEETS = ["uplot.css", "panel.css", "stage.css", "rail.css", "sizes.css"];
const TOAST_MS = 7_000;
const mounted = new WeakMap();

/** What st.components.v2 calls, again after each change of theme; the cleanup of the last call is the one it keeps. */
export default function (component) {
  const place = component.parentElement;
  if (!mounted.has(place)) mounted.set(place, mount(place, component.data));
  const panel = mounted.get(place);
  panel.retheme();
  return () => {
    mounted.delete(place);
    panel.stop();
  };
}

/**
 * Build the panel under `place` (an element or a shadow root) and let it live. `data` is {colours, stream?, command?,
 * measure?, immediate?}; `measure` keeps when what was painted, `immediate` paints in the handler of each message
 * instead of the next animation frame (both for benchmarks).
 * Returns {stop(), retheme(), stats, state()}.
 */
export function mount(place, data) {
  const panel = { root: null, state: blank(), link: "connecting", stats: { paints: 0, painted: [] }, ended: false };
  const root = el("div", { class: "mesh", "data-loading": "" });
  panel.root = root;
  paintColours(root, data.colours);
  place.append(root);
  const act = (command) => carryOut(root, data.command ?? COMMAND, command);
  const parts = build(root, data, act, panel);
  const undo = [listenToKeys(parts), fillWindow(root), () => parts.charts.stop(), () => parts.lanes.stop()];

  const paint = () => {
    panel.due = false;
    if (panel.ended) return;
    const told = panel.state.n;
    paintAll(parts, panel);
    panel.stats.paints += 1;
    if (data.measure) afterPaint(() => panel.stats.painted.push([told, Date.now()]));
  };
  const repaint = () => {
    if (panel.due || panel.ended) return;
    panel.due = true;
    requestAnimationFrame(paint);
  };
  const receive = (message, first) => {
    panel.state = fold(first ? blank() : panel.state, message);
    if (data.immediate) paint();
    else repaint();
  };
  const relink = (link) => {
    panel.link = link;
    repaint();
  };
  dress(place).then(() => {
    if (panel.ended) return;
    root.removeAttribute("data-loading");
    panel.retheme();
    undo.push(listen(data.stream ?? STREAM, receive, relink));
    repaint();
  });

  panel.retheme = () => {
    setAttr(root, "data-theme", isDark(root) ? "dark" : "light");
    parts.charts.retheme();
  };
  panel.stop = () => {
    panel.ended = true;
    undo.forEach((one) => one());
    root.remove();
  };
  return panel;
}

/** Run `then` as soon as the browser has drawn this frame. */
function afterPaint(then) {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => {
    channel.port1.close();
    then();
  };
  channel.port2.postMessage(null);
}

/** The elements of the panel, each with the paint of its own. */
function build(root, data, act, panel) {
  const head = el("header", { class: "head" });
  const bar = el("div", { class: "bar" });
  const totalsRow = el("div", { class: "totals" });
  const chartsGrid = el("div", { class: "charts" });
  const chartsBox = el("section", { class: "charts-box", "aria-label": "Curves" }, chartsGrid);
  const lanesBox = el("section", { class: "lanes card-surface", "aria-label": "Lanes" });
  const rail = el("aside", { class: "rail" });
  const logBox = el("div", { class: "log" });
  const stage = el("div", { class: "stage" }, el("div", { class: "main" }, totalsRow, chartsBox, lanesBox), rail);
  const toast = el("div", { class: "toast", role: "alert", "data-away": "" });
  root.append(head, bar, stage, logBox, toast);
  const section = (name, help) => {
    const box = el("section", { class: "card-surface", "aria-label": name }, el("h3", { text: name, title: help }));
    rail.append(box);
    return box;
  };
  const openHelp = helpDialog(root);
  const parts = {
    openHelp,
    panel,
    header: header(head, openHelp),
    bar: controlBar(bar, act),
    totals: totals(totalsRow, act),
    charts: charts(chartsGrid),
    lanes: lanes(lanesBox, data.colours.roles),
    workers: workers(section("Workers", "Processes, each with its slots, memory and gate."), act),
    chaos: chaos(section("Break something", "Faults that hit the model and the live mesh alike."), act),
    knobs: knobs(section("Turn a knob", "Each acts at once, in the model and on the live mesh."), act),
    log: log(logBox),
  };
  parts.welcome = welcome(chartsBox, () => parts.bar.burst());
  const window = segmented(
    "Time in view",
    WINDOWS.map((one) => [one, one.name, "How much of the session the curves show."]),
    (one) => {
      parts.charts.choose(one);
      parts.charts.paint(panel.state);
    },
  );
  window.paint(WINDOWS[0], true);
  window.node.classList.add("small");
  head.insertBefore(window.node, head.querySelector(".legend"));
  return parts;
}

function paintAll(parts, { state, link }) {
  const usable = link === "open" && state.session !== null;
  const striking = usable && isOn(state.session) && state.session.state === "running";
  parts.header.paint(state, link);
  parts.bar.paint(state, usable);
  parts.totals.paint(state, striking);
  parts.charts.paint(state);
  parts.lanes.paint(state);
  parts.workers.paint(state, striking);
  parts.chaos.paint(state, striking);
  parts.knobs.paint(state, striking);
  parts.log.paint(state);
  parts.welcome.paint(state, usable);
}

/** Send a command; a refusal is told, nothing is ever silent. */
async function carryOut(root, address, command) {
  const answer = await send(address, command);
  if (answer.error) {
    const toast = root.querySelector(".toast");
    setText(toast, answer.error);
    setAttr(toast, "data-away", null);
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => setAttr(toast, "data-away", ""), TOAST_MS);
  }
  return answer;
}

/** Keys of one letter, unless somebody is writing. Returns the way to stop. */
function listenToKeys(parts) {
  const keys = { s: () => parts.bar.toggle(), k: () => parts.chaos.kill(), "?": () => parts.openHelp() };
  const usable = () => parts.panel.link === "open" && parts.panel.state.session !== null;
  const press = (event) => {
    const target = event.composedPath()[0];
    const writing =
      target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    if (writing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keys[event.key]) return;
    if (event.key !== "?" && !usable()) return;
    event.preventDefault();
    keys[event.key]();
  };
  document.addEventListener("keydown", press);
  return () => document.removeEventListener("keydown", press);
}

/** Let the first screen end where the window ends, wherever on the page the panel begins. Returns the way to stop. */
function fillWindow(root) {
  const look = () => {
    const top = root.getBoundingClientRect().top + (root.ownerDocument.scrollingElement?.scrollTop ?? 0);
    if (top >= 0) root.style.setProperty("--top", `${Math.round(top)}px`);
  };
  const watcher = new ResizeObserver(look);
  watcher.observe(document.documentElement);
  watcher.observe(root);
  return () => watcher.disconnect();
}

/** The palette of the app, as CSS variables: panel.css takes those of the theme. */
function paintColours(root, colours) {
  for (const [name, value] of Object.entries(colours)) {
    if (typeof value === "string") root.style.setProperty(`--c-${name}`, value);
  }
}

/** Adopt the style sheets before anything is shown. */
async function dress(place) {
  const sheets = await Promise.all(
    SHEETS.map(async (name) => {
      const answer = await fetch(new URL(name, HERE));
      return new CSSStyleSheet().replace(await answer.text());
    }),
  );
  const scope = place.getRootNode();
  scope.adoptedStyleSheets = [...scope.adoptedStyleSheets, ...sheets];
}

/** Whether the ground is dark, read off the colour that the theme gave the text. */
function isDark(root) {
  const [red, green, blue] = getComputedStyle(root)
    .color.match(/[\d.]+/g)
    .map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128;
}
