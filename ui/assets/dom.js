// Making and changing elements. What comes from data is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

// One path each, in a box of 24 × 24.
const ICONS = {
  bolt: "M13 2 4 14h6l-1 8 9-12h-6z",
  check: "M9 16.2 4.8 12l-1.4 1.4L9 19 21 7l-1.4-1.4z",
  clock: "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm1 11h-5v-2h3V6h2z",
  close: "M19 6.4 17.6 5 12 10.6 6.4 5 5 6.4 10.6 12 5 17.6 6.4 19 12 13.4 17.6 19 19 17.6 13.4 12z",
  database:
    "M12 3c-4.4 0-8 1.3-8 3v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6c0-1.7-3.6-3-8-3zm0 2c3.5 0 6 .8 6 1s-2.5 1-6 " +
    "1-6-.8-6-1 2.5-1 6-1z",
  erase: "M15.1 3.6 3 15.7 7.3 20H20v-2h-7.3l7.7-7.7zM8.1 18l-2.3-2.3 4.9-4.9 3.9 3.9L11.3 18z",
  help:
    "M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20zm1 16h-2v-2h2zm1.6-6.7-.9.9c-.5.5-.7 1-.7 1.8h-2c0-1.3.4-2.2 1.2-3" +
    "l1.2-1.2c.4-.4.6-.8.6-1.3a2 2 0 0 0-4 0H8a4 4 0 1 1 6.6 2.8z",
  kill:
    "M12 2a8 8 0 0 0-8 8c0 2.8 1.4 5.2 3.5 6.6V20a2 2 0 0 0 2 2h5a2 2 0 0 0 2-2v-3.4A8 8 0 0 0 12 2zM9 13a2 2 " +
    "0 1 1 0-4 2 2 0 0 1 0 4zm6 0a2 2 0 1 1 0-4 2 2 0 0 1 0 4z",
  pause: "M6 5h4v14H6zm8 0h4v14h-4z",
  role: "M12 12a5 5 0 1 0 0-10 5 5 0 0 0 0 10zm0 2c-4.4 0-9 2-9 5v3h18v-3c0-3-4.6-5-9-5z",
  slow: "M6 2v6l4 4-4 4v6h12v-6l-4-4 4-4V2zm10 14.5V20H8v-3.5l4-4z",
  stop: "M6 6h12v12H6z",
  save: "M5 20h14v-2H5zM19 9h-4V3H9v6H5l7 7z",
  compare:
    "M10 3H5a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h5v2h2V1h-2zm0 15H5l5-6zM19 3h-5v2h5v13l-5-6v9h5a2 2 0 0 0 2-2V5" +
    "a2 2 0 0 0-2-2z",
};

/** An element: `class`, `text`, `title` …; `on` holds listeners. Children may be strings. */
export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [kind, listener] of Object.entries(value)) node.addEventListener(kind, listener);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An icon that screen readers pass over: the words beside it say the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Set the text of a node that holds nothing else, if it is another one. */
export function setText(node, text) {
  if (node.shownText === text) return;
  node.shownText = text;
  node.textContent = text;
}

/** Set an attribute, if it is another one; null takes it away. */
export function setAttr(node, name, value) {
  const shown = (node.shownAttrs ??= {});
  if (shown[name] === value) return;
  shown[name] = value;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** Set a CSS property, if it is another one. */
export function setStyle(node, name, value) {
  const shown = (node.shownStyles ??= {});
  if (shown[name] === value) return;
  shown[name] = value;
  node.style.setProperty(name, value);
}

/** Whether a node is in the way. Its place stays (visibility), so nothing else moves, unless `collapse`. */
export function setShown(node, shown, collapse = false) {
  setAttr(node, collapse ? "hidden" : "data-away", shown ? null : "");
}

/**
 * Let `parent` show `items` in their order, one child a key, with as little work as possible: a child whose key stays
 * is moved at most, a child that is gone becomes the next newcomer. `make()` gives an empty child, `fill(child, item)`
 * writes it.
 */
export function keyed(parent, items, keyOf, make, fill) {
  const wanted = new Set(items.map(keyOf));
  const kept = new Map();
  for (const child of parent.children) if (wanted.has(child.key)) kept.set(child.key, child);
  let cursor = parent.firstElementChild;
  const free = [];
  for (const item of items) {
    const key = keyOf(item);
    let child = kept.get(key);
    if (child === undefined) {
      // A child that is gone and stands just here is written over in place: nothing needs to be moved for it.
      if (cursor && !wanted.has(cursor.key)) {
        child = cursor;
        cursor = cursor.nextElementSibling;
      } else {
        child = free.pop() ?? make();
        parent.insertBefore(child, cursor);
      }
      child.key = key;
      child.fresh = true;
      kept.set(key, child);
    } else {
      while (cursor && cursor !== child && !wanted.has(cursor.key)) {
        const gone = cursor;
        cursor = cursor.nextElementSibling;
        gone.remove();
        free.push(gone);
      }
      if (cursor === child) cursor = cursor.nextElementSibling;
      else parent.insertBefore(child, cursor);
      child.fresh = false;
    }
    fill(child, item);
  }
  while (cursor) {
    const gone = cursor;
    cursor = cursor.nextElementSibling;
    gone.remove();
  }
}
