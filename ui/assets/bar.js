// The control bar: load, pace of the model, the end of the session.

import { el, icon, setAttr, setShown, setText } from "./dom.js";
import { isOn } from "./state.js";

const PACES = [
  [1, "×1", "The model keeps step with the wall clock, and so with the live mesh."],
  [4, "×4", "The model runs four times as fast."],
  [16, "×16", "The model runs sixteen times as fast."],
  [null, "At once", "The model runs ahead as fast as it can: what will happen if nothing else is done."],
];
const DEFAULTS = { count: 500, rate_per_s: 50 };
/** Until a session says what the machine can do. */
const RATE_MAX_PER_S = 200;

/** The control bar in `parent`; `act(command)` sends what is asked for. Returns {paint(), toggle(), burst()}. */
export function controlBar(parent, act) {
  const wish = { mode: "burst", live: true, ...DEFAULTS };
  let state = null;

  const burst = () => {
    const stress = { do: "stress", on: true, mode: "burst", count: wish.count, rate_per_s: wish.rate_per_s };
    return isOn(state?.session ?? null) || wish.live ? act(stress) : alone(stress);
  };
  const alone = (stress) => {
    const { do: _, ...wanted } = stress;
    return act({ do: "start", live: false, first: { stress: wanted } });
  };
  const toggle = () => {
    const on = !(state?.session?.stress?.on ?? false);
    const stress = { do: "stress", on, mode: wish.mode, count: wish.count, rate_per_s: wish.rate_per_s };
    return on && !isOn(state?.session ?? null) && !wish.live ? alone(stress) : act(stress);
  };

  const go = primary(burst);
  const load = stressControls(wish, toggle, () => state?.session, act);
  const pace = paceControls(act);
  const live = liveChoice(wish);
  const ending = endControls(act);
  parent.append(go.node, load.node, el("span", { class: "spring" }), live.node, pace.node, ending.node);

  const paint = (known, usable) => {
    state = known;
    const on = isOn(known.session);
    go.paint(known, usable, on);
    load.paint(known, usable, on);
    pace.paint(known, usable, on);
    live.paint(usable, on);
    ending.paint(known, usable, on);
  };
  return { paint, toggle, burst };
}

function primary(burst) {
  const label = el("span", { text: "Send 500 tasks" });
  const help = "500 tasks arrive at once, in the model and on the live mesh. The first press starts both.";
  const node = el(
    "button",
    { class: "primary", type: "button", title: help, on: { click: burst } },
    icon("bolt"),
    label,
  );
  const paint = (state, usable, on) => {
    setText(label, on ? "Send 500 more" : "Send 500 tasks");
    // While the welcome shows the same button, large, this one steps back.
    setAttr(node, "data-second", !on && state.model === null && state.live === null ? "" : null);
    setAttr(node, "disabled", usable && state.session?.state !== "stopping" ? null : "");
  };
  return { node, paint };
}

function stressControls(wish, toggle, session, act) {
  const switcher = el("button", {
    class: "switch",
    type: "button",
    role: "switch",
    "aria-checked": "false",
    on: { click: toggle },
  });
  switcher.append(el("i"), el("span", { text: "Live stress mode" }));
  switcher.title = "On: the load below, 500 tasks at once or a held rate. Off: back to the rate of the knob. (s)";
  const rate = el("input", { type: "number", min: 1, max: RATE_MAX_PER_S, step: 1, value: wish.rate_per_s });
  rate.setAttribute("aria-label", "Held rate, tasks per second");
  const hold = (mode) => {
    wish.mode = mode;
    const now = session();
    // While the mode is on, another choice acts at once; a burst is sent by the big button.
    if (mode === "hold" && now?.stress?.on && isOn(now)) {
      act({ do: "stress", on: true, mode, count: wish.count, rate_per_s: wish.rate_per_s });
    }
  };
  rate.addEventListener("change", () => {
    const wanted = Math.round(rate.valueAsNumber);
    wish.rate_per_s = Math.min(
      session()?.limits?.rate?.[1] ?? RATE_MAX_PER_S,
      Math.max(1, Number.isFinite(wanted) ? wanted : DEFAULTS.rate_per_s),
    );
    rate.value = `${wish.rate_per_s}`;
    hold("hold");
  });
  const modes = segmented(
    "Load of the stress mode",
    [
      ["burst", "500 at once", "One burst of 500 tasks."],
      ["hold", "Hold", "So many tasks a second until it is switched off."],
    ],
    hold,
  );
  const unit = el("label", { class: "with-unit" }, rate, el("span", { text: "/s" }));
  const node = el("div", { class: "group" }, switcher, modes.node, unit);
  const paint = (state, usable, on) => {
    const stressed = on && (state.session?.stress?.on ?? false);
    setAttr(switcher, "aria-checked", `${stressed}`);
    setAttr(switcher, "disabled", usable && state.session?.state !== "stopping" ? null : "");
    if (stressed && state.session.stress.mode) modes.paint(state.session.stress.mode, usable);
    else modes.paint(wish.mode, usable);
    setAttr(unit, "data-dim", wish.mode === "hold" ? null : "");
    setAttr(rate, "disabled", usable ? null : "");
    setAttr(rate, "max", `${state.session?.limits?.rate?.[1] ?? RATE_MAX_PER_S}`);
    if (state.session?.speed_limit) setAttr(unit, "title", state.session.speed_limit);
  };
  return { node, paint };
}

function paceControls(act) {
  const choose = (speed) => act({ do: "pace", speed });
  const paces = segmented("Pace of the model", PACES, choose);
  const node = el("div", { class: "group" }, el("span", { class: "group-name model", text: "Model pace" }), paces.node);
  const paint = (state, usable, on) => {
    setShown(node, on, true);
    paces.paint(state.session?.pace ?? (state.session?.pace === null ? null : 1), usable);
  };
  return { node, paint };
}

function liveChoice(wish) {
  const choice = segmented(
    "What runs",
    [
      [true, "Model + live", "The model, and real workers on real Redis and PostgreSQL."],
      [false, "Model only", "The SimPy model alone: no servers are started."],
    ],
    (live) => {
      wish.live = live;
    },
  );
  const paint = (usable, on) => {
    setShown(choice.node, !on, true);
    choice.paint(wish.live, usable);
  };
  return { node: choice.node, paint };
}

function endControls(act) {
  const stopped = el("button", { class: "plain", type: "button", on: { click: () => act({ do: "stop" }) } });
  stopped.append(icon("stop"), el("span", { text: "Stop & save" }));
  stopped.title = "End the session and keep its records: they can be compared task by task.";
  const compare = el("a", { class: "plain accent", target: "_top", hidden: true }, icon("compare"));
  compare.append(el("span", { text: "Compare task by task" }));
  const download = el("a", { class: "plain", href: "/lab/mesh/scenario.yaml", download: "session.yaml", hidden: true });
  download.append(icon("save"), el("span", { text: "Scenario" }));
  download.title = "The session as a scenario file: `meshlab run` repeats it.";
  const node = el("div", { class: "group ends" }, compare, download, stopped);
  const paint = (state, usable, on) => {
    const session = state.session;
    const records = session?.records ?? [];
    setShown(stopped, on, true);
    setAttr(stopped, "disabled", usable && session?.state !== "stopping" ? null : "");
    setText(stopped.lastChild, session?.state === "stopping" ? "Saving …" : "Stop & save");
    setShown(compare, !on && records.length > 0, true);
    if (records.length) setAttr(compare, "href", `/run?run=${records.map(encodeURIComponent).join(",")}`);
    setShown(download, Boolean(session?.id) && (state.model !== null || state.live !== null), true);
  };
  return { node, paint };
}

/** A row of buttons of which one is pressed. */
function segmented(name, choices, choose) {
  const node = el("div", { class: "segmented", role: "group", "aria-label": name });
  let chosen;
  const buttons = choices.map(([value, label, help]) => {
    const press = () => {
      paint(value, true);
      choose(value);
    };
    const button = el("button", { type: "button", text: label, title: help, on: { click: press } });
    node.append(button);
    return [value, button];
  });
  const paint = (value, usable) => {
    chosen = value;
    for (const [one, button] of buttons) {
      setAttr(button, "aria-pressed", `${one === chosen}`);
      setAttr(button, "disabled", usable ? null : "");
    }
  };
  return { node, paint };
}
export { segmented };
