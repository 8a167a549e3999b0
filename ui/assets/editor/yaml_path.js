// Where the cursor stands in a scenario: the path of keys above it, and what stands beside it.
//
// While somebody types, the text is seldom whole YAML, so this reads it line by line and forgives everything. It knows
// as much YAML as a scenario needs: block and flow mappings, lists, comments, quoted and folded text.

const KEY = /^("[^"]*"|'[^']*'|[^\s#:{}[\],"'&*!|>%@`-][^#:{}[\],]*?)\s*:(?=\s|$)/;

// {mode: "key" | "value" | "none", path, key, siblings, word: {from, to}}. A step into a list is "[]".
export function contextAt(text, pos) {
  return new Reader(text, pos).context();
}

class Reader {
  constructor(text, pos) {
    Object.assign(this, { text, pos, found: null, stack: [mapping([], -1)] });
  }

  context() {
    let at = 0;
    while (at <= this.text.length) at = this.line(at);
    return this.found ?? { mode: "none", path: [], siblings: {} };
  }

  // Reads the line that starts at `at`; returns where the next one starts.
  line(at) {
    let end = this.text.indexOf("\n", at);
    if (end < 0) end = this.text.length;
    const line = this.text.slice(at, end);
    const here = this.pos >= at && this.pos <= end;
    let column = line.length - line.trimStart().length;
    if (!here && (column === line.length || line[column] === "#")) return end + 1;
    if (here && line.slice(0, this.pos - at).match(/(^|\s)#/)) return end + 1; // in a comment nothing is offered
    while (/^- ?/.test(line.slice(column)) && !/^--/.test(line.slice(column))) column = this.item(line, column);
    const rest = line.slice(column);
    const key = rest.match(KEY);
    if (!key) {
      const open = rest.search(/\S/) >= 0 && "{[".includes(rest.trim()[0]);
      if (open) return this.flowLine(at + column, this.top(column).path);
      if (here) this.partial(line, at, column);
      return end + 1;
    }
    const into = this.top(column, true);
    const name = unquoted(key[1]);
    into.last = name;
    const from = at + column;
    if (here && this.pos <= from + key[1].length) this.find("key", into, name, from, from + key[1].length);
    const valueAt = from + key[0].length;
    const value = this.text.slice(valueAt, end);
    const bare = value.trim();
    into.siblings[name] = "";
    if ("{[".includes(bare[0] ?? " ")) return this.flowLine(valueAt, [...into.path, name], column);
    into.siblings[name] = unquoted(bare.replace(/\s+#.*$/, ""));
    if (here && this.pos >= valueAt) this.value(into, name, valueAt, end);
    if (/^[|>]/.test(bare)) return this.folded(end + 1, column);
    return end + 1;
  }

  // A list's item begins: what follows the dash is a mapping of its own.
  item(line, column) {
    const owner = this.top(column + 0.5);
    const path = owner.last === undefined ? owner.path : [...owner.path, owner.last];
    const next = column + Math.max(1, line.slice(column).match(/^-\s*/)[0].length);
    this.stack = this.stack.filter((one) => one.indent < next && !(one.item && one.indent >= column));
    this.stack.push({ ...mapping([...path, "[]"], next), item: true, dash: column });
    return next;
  }

  // The mapping that a key in this column belongs to; a deeper column opens a mapping below the last key.
  top(column, open = false) {
    while (this.stack.length > 1 && this.stack.at(-1).indent > column) this.stack.pop();
    const top = this.stack.at(-1);
    if (!open || top.indent === column) return top;
    if (top.indent === -1 && top.last === undefined) {
      this.stack.push(mapping([], column));
    } else {
      this.stack.push(mapping(top.last === undefined ? top.path : [...top.path, top.last], column));
    }
    return this.stack.at(-1);
  }

  // The line on which somebody writes, and which has no colon yet.
  partial(line, at, column) {
    const before = line.slice(column, this.pos - at);
    if (/[\s:]/.test(before.trim())) return;
    const start = this.pos - at < column ? this.pos - at : column;
    this.find("key", this.top(start, true), "", at + start, at + start + line.slice(start).search(/\s|$/));
  }

  // Text below `key: >-` is no YAML.
  folded(at, column) {
    while (at <= this.text.length) {
      let end = this.text.indexOf("\n", at);
      if (end < 0) end = this.text.length;
      const line = this.text.slice(at, end);
      if (line.trim() && line.search(/\S/) <= column) return at;
      at = end + 1;
    }
    return at;
  }

  flowLine(at, path, column = 0) {
    const stop = this.flow(this.skip(at), path, column);
    const end = this.text.indexOf("\n", stop);
    return end < 0 ? this.text.length + 1 : end + 1;
  }

  skip(at) {
    while (/[\s]/.test(this.text[at] ?? "x")) at++;
    return at;
  }

  // Reads `{…}` or `[…]` from its bracket on; returns the place behind it, or where it must have been forgotten.
  flow(at, path, column) {
    const list = this.text[at] === "[";
    const into = mapping(list ? [...path, "[]"] : path, 0);
    let start = ++at;
    let key = null;
    let inner = false;
    const entry = (end) => {
      const [from, to] = [this.skip(start), end];
      if (!inner) this.entry(into, key, Math.min(from, to), to, list);
      else if (key) into.siblings[key.name] = "";
      start = end + 1;
      key = null;
      inner = false;
    };
    for (; at < this.text.length; at++) {
      const c = this.text[at];
      if (c === '"' || c === "'") at = this.quoted(at, c);
      else if (c === "{" || c === "[") {
        at = this.flow(at, list ? into.path : [...path, key?.name ?? ""], column) - 1;
        inner = true;
      } else if (c === "}" || c === "]" || c === ",") {
        entry(at);
        if (c !== ",") return at + 1;
      } else if (c === ":" && key === null && !list && /[\s,}]|$/.test(this.text[at + 1] ?? "")) {
        const from = this.skip(start);
        key = { name: unquoted(this.text.slice(from, at).trim()), from, to: at };
        if (this.pos >= from && this.pos <= at) this.find("key", into, key.name, from, at);
        start = at + 1;
      } else if (c === "#" && /\s/.test(this.text[at - 1])) {
        while (at < this.text.length && this.text[at] !== "\n") at++;
      } else if (c === "\n" && this.leaves(at + 1, column)) {
        entry(at);
        return at;
      }
    }
    entry(at);
    return at;
  }

  // Whether the next line plainly stands outside: the bracket was not closed yet.
  leaves(at, column) {
    const line = this.text.slice(at).split("\n", 1)[0];
    return line.trim() !== "" && line.search(/\S/) <= column;
  }

  quoted(at, mark) {
    for (at++; at < this.text.length && this.text[at] !== mark && this.text[at] !== "\n"; at++);
    return at;
  }

  entry(into, key, from, to, list) {
    if (key) {
      into.siblings[key.name] = unquoted(this.text.slice(from, to).trim());
      if (this.pos > key.to && this.pos <= to) this.value(into, key.name, key.to + 1, to);
    } else if (!list && this.pos >= from && this.pos <= to && !this.found) {
      this.find("key", into, "", from, to);
    } else if (!list && this.text.slice(from, to).trim() === "" && this.pos <= to && this.pos >= from - 2) {
      this.found ??= {
        mode: "key",
        path: into.path,
        key: "",
        siblings: into.siblings,
        word: { from: this.pos, to: this.pos },
      };
    }
  }

  value(into, key, from, to) {
    const start = Math.min(this.skipSpaces(from), Math.max(this.pos, from));
    const length = this.text
      .slice(start, to)
      .replace(/\s+#.*$/, "")
      .trimEnd().length;
    this.find("value", into, key, start, Math.max(start + length, this.pos));
  }

  skipSpaces(at) {
    while (this.text[at] === " ") at++;
    return at;
  }

  find(mode, into, key, from, to) {
    this.found = { mode, path: into.path, key, siblings: into.siblings, word: { from, to } };
  }
}

function mapping(path, indent) {
  return { path, indent, siblings: {}, last: undefined };
}

function unquoted(text) {
  return text.replace(/^(["'])(.*)\1$/, "$2");
}
