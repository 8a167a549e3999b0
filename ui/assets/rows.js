// A dense table: rows that can be chosen, opened, starred, sorted. All content is set as text, never as HTML.
// Python says what is shown (`data`); this says what a person does (triggers: chosen, opened, starred, tagged, sorted).
const STATES = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".rows");
  if (!root || !data) return;
  let state = STATES.get(parentElement);
  if (!state) STATES.set(parentElement, (state = { turn: 0, chosen: new Set(), last: -1 }));
  // An answer to an older click must not undo a newer one.
  if (data.turn >= state.turn || !state.seen) {
    state.turn = data.turn;
    state.chosen = new Set(data.chosen);
  }
  state.seen = true;
  state.component = component;
  draw(root, state);
}

const make = (tag, style = "", text = null) => {
  const element = document.createElement(tag);
  if (style) element.className = style;
  if (text !== null) element.textContent = text;
  return element;
};

function draw(root, state) {
  const { data } = state.component;
  root.classList.toggle("dark", isDark(root));
  root.style.setProperty("--lines", data.height);
  const old = root.querySelector(".scroll");
  const scroll = make("div", "scroll");
  const table = make("table");
  table.setAttribute("aria-label", data.label);
  table.style.minWidth = data.width;
  table.append(columns(data), head(state), body(state));
  scroll.append(table);
  const foot = footer(state);
  const top = old && state.page === data.page ? old.scrollTop : 0;
  state.page = data.page;
  root.replaceChildren(scroll, foot);
  scroll.scrollTop = top;
}

function columns(data) {
  const group = make("colgroup");
  if (data.choosable) group.append(sized("38px"));
  for (const column of data.columns) group.append(sized(column.width));
  return group;
}

function sized(width) {
  const column = make("col");
  if (width) column.style.width = width;
  return column;
}

function head(state) {
  const { data, setTriggerValue } = state.component;
  const line = make("tr");
  if (data.choosable) line.append(allBox(state));
  for (const column of data.columns) {
    const cell = make("th", column.align || "");
    cell.scope = "col";
    if (column.help) cell.title = column.help;
    if (column.sortable) {
      const sorted = data.sort.key === column.key;
      const button = make("button", sorted ? "sort on" : "sort", column.label);
      if (sorted) button[column.align ? "prepend" : "append"](make("span", "arrow", data.sort.down ? "↓" : "↑"));
      cell.ariaSort = sorted ? (data.sort.down ? "descending" : "ascending") : "none";
      button.onclick = () => setTriggerValue("sorted", column.key);
      cell.append(button);
    } else cell.textContent = column.label;
    line.append(cell);
  }
  const part = make("thead");
  part.append(line);
  return part;
}

function allBox(state) {
  const { data } = state.component;
  const cell = make("th", "box");
  const box = make("input");
  box.type = "checkbox";
  box.ariaLabel = "Choose all rows of this page";
  const here = data.rows.filter((row) => state.chosen.has(row.id)).length;
  box.checked = here > 0 && here === data.rows.length;
  box.indeterminate = here > 0 && here < data.rows.length;
  box.onchange = () => {
    for (const row of data.rows) box.checked ? state.chosen.add(row.id) : state.chosen.delete(row.id);
    chose(state);
  };
  cell.append(box);
  return cell;
}

function body(state) {
  const { data } = state.component;
  const part = make("tbody");
  data.rows.forEach((row, place) => part.append(rowLine(state, row, place)));
  return part;
}

function rowLine(state, row, place) {
  const { data } = state.component;
  const line = make("tr", row.id === data.current ? "current" : "");
  line.dataset.id = row.id;
  line.classList.toggle("chosen", state.chosen.has(row.id));
  if (data.choosable) line.append(chooseCell(state, row, place));
  for (const column of data.columns) {
    const cell = make("td", `is-${column.kind} ${column.align || ""}`);
    (CELLS[column.kind] || CELLS.text)(cell, row.cells[column.key], row, state);
    line.append(cell);
  }
  if (data.openable)
    line.onclick = (event) => {
      if (!event.target.closest("button, a, input") && !String(getSelection())) open(state, row);
    };
  return line;
}

function chooseCell(state, row, place) {
  const { data } = state.component;
  const cell = make("td", "box");
  const box = make("input");
  box.type = "checkbox";
  box.ariaLabel = `Choose ${row.name}`;
  box.checked = state.chosen.has(row.id);
  box.onclick = (event) => {
    event.stopPropagation();
    const from = event.shiftKey && state.last >= 0 ? state.last : place;
    const [low, high] = [Math.min(from, place), Math.max(from, place)];
    for (const one of data.rows.slice(low, high + 1)) box.checked ? state.chosen.add(one.id) : state.chosen.delete(one.id);
    state.last = place;
    chose(state);
  };
  cell.onclick = (event) => event.stopPropagation();
  cell.append(box);
  return cell;
}

function chose(state) {
  state.turn += 1;
  state.component.setTriggerValue("chosen", { ids: [...state.chosen], turn: state.turn });
  draw(state.component.parentElement.querySelector(".rows"), state);
}

function open(state, row) {
  state.component.setTriggerValue("opened", row.id);
}

const CELLS = {
  text: (cell, value) => {
    cell.textContent = value ?? "";
    if (value) cell.title = value;
  },
  number: (cell, value) => (cell.textContent = value ?? ""),
  when: (cell, value) => {
    cell.textContent = value.text;
    cell.title = value.title;
  },
  link: (cell, value, row, state) => {
    const link = make("a", "", value.text);
    link.href = value.href ? new URL(value.href, document.baseURI) : "#";
    link.title = value.text;
    link.onclick = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      open(state, row);
    };
    cell.append(link);
    if (value.sub) cell.append(make("div", "sub", value.sub));
  },
  engine: (cell, value) => {
    for (const [engine, word] of value) {
      const chip = make("span", `engine ${engine}`);
      chip.append(make("i"), make("span", "", word));
      cell.append(chip);
    }
  },
  dot: (cell, value) => {
    const chip = make("span", "engine");
    const dot = make("i");
    dot.style.background = value.colour;
    chip.append(dot, make("span", "", value.text));
    cell.append(chip);
  },
  verdict: (cell, value) => {
    const chip = make("span", `verdict ${value.tone}`);
    chip.append(make("b", "", value.icon), make("span", "", value.text));
    chip.title = value.title || "";
    cell.append(chip);
  },
  tags: (cell, value, row, state) => {
    cell.title = value.join(", ");
    for (const tag of value) {
      const chip = make("button", "tag", tag);
      chip.title = `Show only what is tagged ${tag}`;
      chip.onclick = () => state.component.setTriggerValue("tagged", tag);
      cell.append(chip);
    }
  },
  star: (cell, value, row, state) => {
    const button = make("button", value ? "star on" : "star", value ? "★" : "☆");
    button.ariaLabel = value ? `${row.name} is a favourite; take its star` : `Make ${row.name} a favourite`;
    button.title = value ? "A favourite; click to take the star" : "Make it a favourite";
    button.onclick = () => state.component.setTriggerValue("starred", row.id);
    cell.append(button);
  },
  curve: (cell, value) => {
    if (value && value.points.length) cell.append(curve(value.points, value.engine));
  },
};

function curve(points, engine) {
  const space = "http://www.w3.org/2000/svg", [width, height] = [96, 22];
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", `curve ${engine}`);
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(...points, 1), step = width / Math.max(1, points.length - 1);
  const at = points.map((value, place) => `${(place * step).toFixed(1)},${(height - 1 - (value / top) * (height - 3)).toFixed(1)}`);
  const area = document.createElementNS(space, "polygon");
  area.setAttribute("points", `0,${height} ${at.join(" ")} ${width},${height}`);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", at.join(" "));
  svg.append(area, line);
  return svg;
}

function footer(state) {
  const { data } = state.component;
  const foot = make("div", "foot");
  foot.append(make("span", "", data.foot));
  if (data.link) {
    const some = [...state.chosen];
    const button = make("button", "copy", some.length && data.linkChosen ? data.linkChosen : data.link);
    button.onclick = async () => {
      const here = some.length && data.hrefChosen ? data.hrefChosen + some.map(encodeURIComponent).join(",") : location.href;
      const said = button.textContent;
      try {
        await navigator.clipboard.writeText(new URL(here, document.baseURI).href);
        button.textContent = "Copied ✓";
      } catch {
        button.textContent = "The browser does not let this page copy";
      }
      setTimeout(() => (button.textContent = said), 1500);
    };
    foot.append(button);
  }
  return foot;
}

function isDark(root) {
  const found = getComputedStyle(root).backgroundColor.match(/[\d.]+/g);
  if (!found) return false;
  const [red, green, blue] = found.map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}
