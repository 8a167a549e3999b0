// Two runs of the same tasks, played side by side on one clock. All that is shown comes as data; texts are set as text.
const PLAY_MS = 14000; // how long a whole play takes, however long the runs took
const STEP_MS = 10;
const GUTTER = 30, RIGHT = 10, TOP = 15, AXIS = 18, PLACE_GAP = 7, QUEUE = 46, MEMORY = 84, TITLE = 16;
const ICONS = {
  play: "M3 1.5v11l9-5.5z", pause: "M2.5 1.5h3.2v11H2.5zM8.3 1.5h3.2v11H8.3z",
  again: "M7 2.2V0L3.2 3.2 7 6.4V4a3.6 3.6 0 1 1-3.6 3.6H1.6A5.4 5.4 0 1 0 7 2.2z",
};

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".replay");
  const kept = root.player;
  if (kept && kept.data.id === data.id) {
    kept.paint(); // the theme may have changed
    return kept.leave;
  }
  if (kept) kept.leave();
  root.player = player(root, data);
  return root.player.leave;
}

function player(root, data) {
  const end = Math.max(...data.sides.map((side) => side.end));
  const sides = build(root, data);
  const button = root.querySelector("button"), slider = root.querySelector("input"), clock = root.querySelector("output");
  let now = 0, playing = false, before = 0, frame = 0;
  slider.max = Math.ceil(end / STEP_MS) * STEP_MS; // else its last step would stop short of the end
  slider.step = STEP_MS;

  function paint() {
    const look = style(root, data);
    for (const side of sides) side.paint(now, end, look);
    slider.value = now;
    slider.setAttribute("aria-valuetext", seconds(now));
    clock.textContent = `${seconds(now)} of ${seconds(end)}`;
    const what = playing ? ["pause", "Pause"] : now >= end ? ["again", "Play again"] : ["play", "Play"];
    if (button.dataset.what !== what[0]) {
      button.dataset.what = what[0];
      button.querySelector("path").setAttribute("d", ICONS[what[0]]);
      button.querySelector("span").textContent = what[1];
    }
    root.dataset.state = playing ? "playing" : now >= end ? "ended" : "paused";
  }
  function tick(moment) {
    now = Math.min(end, now + ((moment - before) * end) / PLAY_MS);
    before = moment;
    if (now >= end) playing = false;
    paint();
    frame = playing ? requestAnimationFrame(tick) : 0;
  }
  function start() {
    if (now >= end) now = 0;
    playing = true;
    before = performance.now();
    frame = requestAnimationFrame(tick);
  }
  function pause() {
    playing = false;
    cancelAnimationFrame(frame);
    paint();
  }
  button.onclick = () => (playing ? pause() : start());
  slider.oninput = () => { now = Math.min(end, Number(slider.value)); pause(); };
  const sized = new ResizeObserver(() => paint());
  sized.observe(root);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) now = end;
  else start();
  paint();
  return { data, paint, leave: () => { cancelAnimationFrame(frame); sized.disconnect(); root.player = undefined; } };
}

// ---- what is in the page ---------------------------------------------------------------------------------------------

function element(kind, name, text) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function build(root, data) {
  const shown = data.wheres.map((_, at) => at).filter((at) => data.always.includes(data.wheres[at])
    || data.sides.some((side) => side.steps.some((step) => step[at + 1] > 0)));
  const depth = Math.max(1, ...data.sides.flatMap((side) => side.steps.map((step) => step[1])));
  const memory = Math.max(0, ...data.sides.flatMap((side) => Object.values(side.rss).flatMap((c) => c.map((p) => p[1]))));
  const holder = root.querySelector(".sides");
  const fates = new Set(data.sides.flatMap((side) => [...side.bars, ...side.spans].map((one) => one[3])));
  holder.replaceChildren();
  const legend = root.querySelector(".legend");
  legend.replaceChildren(...data.legend.filter(([fate]) => fates.has(fate)).map(([fate, words]) => {
    const entry = element("span", "", words), mark = element("i");
    mark.style.background = data.hatched.includes(fate)
      ? `repeating-linear-gradient(135deg, ${data.colours[fate]} 0 3px, transparent 3px 6px)` : data.colours[fate];
    entry.prepend(mark);
    return entry;
  }));
  return data.sides.map((side) => sideView(holder, data, side, shown, depth, memory));
}

function sideView(holder, data, side, shown, depth, memory) {
  const box = element("section", "side"), head = element("div", "head"), counts = element("div", "counts");
  head.append(element("strong", "", side.title), element("span", `tag ${side.tone}`, data.words[side.tone]), element("code", "", side.note));
  const numbers = shown.map((at) => {
    const one = element("div"), number = element("b", "", "0");
    one.append(number, element("span", "", data.wheres[at]));
    one.dataset.where = data.wheres[at];
    counts.append(one);
    return [at, number, one];
  });
  const canvas = element("canvas"), tip = element("div", "tip");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${side.title}: slots over time, ${side.bars.length} attempts`);
  tip.hidden = true;
  box.append(head, counts, canvas, tip);
  holder.append(box);
  const view = { side, data, canvas, depth, memory, drawn: [] };
  canvas.onpointermove = (event) => hover(view, tip, event);
  canvas.onpointerleave = () => { tip.hidden = true; };
  return {
    paint(now, end, look) {
      const step = at(side.steps, now);
      for (const [index, number, one] of numbers) {
        const count = step ? step[index + 1] : 0;
        number.textContent = count;
        one.classList.toggle("alarm", count > 0 && data.alarming.includes(data.wheres[index]));
        one.classList.toggle("fine", now >= end && data.wheres[index] === "lost" && count === 0);
      }
      draw(view, now, end, look);
    },
  };
}

function hover(view, tip, event) {
  const [x, y] = [event.offsetX, event.offsetY];
  const hit = view.drawn.find((one) => x >= one.x && x <= one.x + one.w && y >= one.y && y <= one.y + one.h);
  tip.hidden = !hit;
  if (!hit) return;
  const [, begin, end, fate, task, role] = hit.bar;
  const words = hit.going ? "at work" : view.data.legend.find(([name]) => name === fate)[1];
  tip.textContent = `Task ${task}, ${role}\n${seconds(begin)} to ${seconds(hit.going ? hit.now : end)}: ${words}`;
  const left = view.canvas.offsetLeft + Math.min(x + 12, view.canvas.clientWidth - 200);
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${view.canvas.offsetTop + y + 14}px`;
}

// ---- drawing ---------------------------------------------------------------------------------------------------------

function style(root, data) {
  const own = getComputedStyle(root);
  return { text: own.color, font: own.fontFamily, curve: own.getPropertyValue("--st-primary-color") || data.colours.done, ground: own.getPropertyValue("--st-background-color") || "#fff", ...data.colours };
}

function draw(view, now, end, look) {
  const { side, canvas } = view, lane = side.places * side.slots > 14 ? 7 : 17;
  const gantt = side.places * side.slots * lane + (side.places - 1) * PLACE_GAP + TOP, memory = view.memory > 0 ? MEMORY + TITLE : 0;
  const width = canvas.clientWidth, height = gantt + AXIS + QUEUE + TITLE + memory + 4, ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `11px ${look.font}`;
  pen.textBaseline = "middle";
  const x = (ms) => GUTTER + (ms / end) * (width - GUTTER - RIGHT);
  const y = (place, slot) => TOP + (place * side.slots + slot) * lane + place * PLACE_GAP;
  const plane = { pen, x, y, lane, gantt, now, end, look, width };
  drawPlaces(view, plane);
  drawStrikes(side, plane, true);
  drawBars(view, plane);
  drawStrikes(side, plane, false);
  drawAxis(plane);
  const steps = side.steps.map((step) => [step[0], step[1]]);
  drawCurves(plane, gantt + AXIS, QUEUE, "waiting tasks", view.depth, [steps], null);
  if (memory) drawCurves(plane, gantt + AXIS + QUEUE + TITLE, MEMORY, "memory of each process, MiB", view.memory, Object.values(side.rss), side.limit);
  pen.globalAlpha = 0.55;
  pen.fillStyle = look.text;
  pen.fillRect(x(now) - 0.5, TOP - 4, 1, height - TOP);
  pen.globalAlpha = 1;
}

function drawPlaces(view, { pen, x, y, lane, now, look, width }) {
  const { side } = view;
  for (let place = 0; place < side.places; place += 1) {
    pen.globalAlpha = 0.06;
    pen.fillStyle = look.text;
    for (let slot = 0; slot < side.slots; slot += 1) pen.fillRect(GUTTER, y(place, slot) + 1, width - GUTTER - RIGHT, lane - 2);
    pen.globalAlpha = 0.75;
    pen.fillText(`w${place}`, 4, y(place, 0) + (side.slots * lane) / 2);
    pen.globalAlpha = 1;
  }
  for (const [place, begin, until, kind] of side.spans) {
    if (begin > now) continue;
    const left = x(begin), wide = x(Math.min(until, now)) - left, tall = side.slots * lane;
    if (kind === "gone") {
      hatch(pen, left, y(place, 0), wide, tall, look.gone, 7);
    } else {
      pen.fillStyle = look.closed;
      pen.fillRect(left, y(place, 0), wide, tall);
    }
  }
}

function drawBars(view, { pen, x, y, lane, now, look }) {
  const { side } = view;
  view.drawn = [];
  for (const bar of side.bars) {
    const [row, begin, until, fate, task] = bar;
    if (begin > now) continue;
    const going = until > now, left = x(begin), wide = Math.max(1.5, x(Math.min(until, now)) - left - 1);
    const top = y(Math.floor(row / side.slots), row % side.slots) + 1, tall = lane - 2;
    if (fate === "asleep") hatch(pen, left, top, wide, tall, look.asleep, 5);
    else {
      pen.fillStyle = going ? look.going : look[fate];
      pen.fillRect(left, top, wide, tall);
    }
    if (!going && fate === "lost") {
      hatch(pen, left, top, wide, tall, look.ground, 5);
      cross(pen, left + wide, top + tall / 2, look.text);
    }
    if (tall > 11 && wide > 16 && fate !== "asleep" && fate !== "lost") {
      pen.fillStyle = "#fff";
      pen.fillText(task, left + 4, top + tall / 2 + 0.5);
    }
    view.drawn.push({ x: left, y: top, w: wide, h: tall, bar, going, now });
  }
}

function drawStrikes(side, { pen, x, gantt, now, look, width }, behind) {
  for (const [begin, until, what] of side.strikes) {
    if (begin > now) continue;
    const left = x(begin);
    pen.fillStyle = look.failed;
    if (behind) {
      pen.globalAlpha = 0.14;
      pen.fillRect(left, TOP - 4, x(Math.min(until, now)) - left, gantt - TOP + 4);
      pen.globalAlpha = 1;
      continue;
    }
    pen.fillRect(left - 1, TOP - 4, 2, gantt - TOP + 4);
    pen.fillText(what, Math.min(left - 1, width - pen.measureText(what).width - 2), 5);
  }
}

function drawAxis({ pen, x, gantt, end, look, width }) {
  const step = [500, 1000, 2000, 5000, 10000, 20000].find((one) => (end / one) * 44 < width) || 60000;
  pen.fillStyle = look.text;
  pen.textAlign = "center";
  for (let ms = 0; ms <= end; ms += step) {
    pen.globalAlpha = 0.12;
    pen.fillRect(x(ms), TOP, 1, gantt - TOP + 3);
    pen.globalAlpha = 0.7;
    pen.fillText(ms === 0 ? "0" : `${ms / 1000} s`, x(ms), gantt + AXIS / 2 + 1);
  }
  pen.textAlign = "left";
  pen.globalAlpha = 1;
}

function drawCurves({ pen, x, now, end, look, width }, top, room, words, most, curves, limit) {
  const base = top + TITLE + room - 8, tall = room - 12, colour = look.curve;
  pen.fillStyle = look.text;
  pen.globalAlpha = 0.7;
  pen.fillText(words, GUTTER, top + 9);
  pen.textAlign = "right";
  pen.fillText(Math.round(most), GUTTER - 5, base - tall + 4);
  pen.fillText(0, GUTTER - 5, base - 3);
  pen.textAlign = "left";
  pen.globalAlpha = 0.25;
  pen.fillRect(GUTTER, base, width - GUTTER - RIGHT, 1);
  pen.globalAlpha = 1;
  for (const curve of curves) drawCurve(pen, x, now, base, tall / most, curve, colour, curves.length === 1);
  if (limit !== null && limit <= most) {
    pen.fillStyle = look.failed;
    pen.fillRect(GUTTER, base - (limit * tall) / most, width - GUTTER - RIGHT, 1.5);
    pen.fillText(`limit ${limit}`, width - RIGHT - 58, base - (limit * tall) / most + 8);
  }
}

function drawCurve(pen, x, now, base, scale, curve, colour, filled) {
  const seen = curve.filter((point) => point[0] <= now);
  if (!seen.length) return;
  pen.beginPath();
  pen.moveTo(x(seen[0][0]), base);
  let level = base;
  for (const [ms, value] of seen) {
    pen.lineTo(x(ms), level);
    level = base - value * scale;
    pen.lineTo(x(ms), level);
  }
  pen.lineTo(x(Math.min(now, filled ? now : seen.at(-1)[0])), level);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.stroke();
  if (!filled) return;
  pen.lineTo(x(now), base);
  pen.globalAlpha = 0.22;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function hatch(pen, left, top, wide, tall, colour, gap) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, wide, tall);
  pen.clip();
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  const first = Math.floor((left - tall) / gap) * gap; // stripes stand still while a bar grows
  for (let at_ = first; at_ < left + wide; at_ += gap) {
    pen.moveTo(at_, top + tall);
    pen.lineTo(at_ + tall, top);
  }
  pen.stroke();
  pen.restore();
}

function cross(pen, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x - 4, y - 4);
  pen.lineTo(x + 4, y + 4);
  pen.moveTo(x + 4, y - 4);
  pen.lineTo(x - 4, y + 4);
  pen.stroke();
}

function at(steps, now) {
  let found = null;
  for (const step of steps) {
    if (step[0] > now) break;
    found = step;
  }
  return found;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}
