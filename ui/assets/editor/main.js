// The scenario editor: CodeMirror with the lab's schema behind it. Mounted by ui/editor.py.
//
// The server owns the truth about what is wrong (POST /lab/scenario/check); this marks it where it stands, as one types.
// What is typed goes back to the page when the typing pauses, so that forms and previews follow.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentService, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Annotation, EditorState, Prec, RangeSetBuilder } from "@codemirror/state";
import {
  Decoration,
  drawSelection,
  dropCursor,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  hoverTooltip,
  keymap,
  lineNumbers,
  tooltips,
  ViewPlugin,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { choiceMeaning, facts, fieldOf, keysAt, meaning, shapesAt } from "./outline.js";
import { contextAt } from "./yaml_path.js";

const CHECK_MS = 250;
const SEND_MS = 600;
const KEPT = "meshlab.studio";
const fromServer = Annotation.define();
const editors = new WeakMap();
let outline = null;

// Called whenever the page has something new to say; returns what ends the editor.
export function mount(component) {
  const root = component.parentElement.querySelector(".studio-editor");
  let editor = editors.get(root);
  if (!editor) editors.set(root, (editor = new Editor(root, component)));
  else editor.update(component);
  return () => {
    editor.end();
    editors.delete(root);
  };
}

class Editor {
  constructor(root, component) {
    this.root = root;
    this.component = component;
    const { data } = component;
    const kept = restored(data);
    this.revision = data.revision;
    this.sent = data.text;
    this.problems = [];
    root.replaceChildren();
    this.notice = add(root, "div", "notice");
    this.notice.hidden = true;
    this.view = new EditorView({
      parent: add(root, "div", "text"),
      root: root.getRootNode(),
      state: EditorState.create({ doc: kept ?? data.text, extensions: this.extensions() }),
    });
    this.status = add(root, "div", "status");
    this.status.setAttribute("role", "status");
    this.list = add(root, "ul", "problems");
    if (kept !== null) this.tell("Your unsaved changes are back.");
    this.keep();
    if (kept !== null) this.send();
    this.check();
    learn();
  }

  extensions() {
    return [
      lineNumbers(),
      highlightActiveLineGutter(),
      lintGutter(),
      history(),
      drawSelection(),
      dropCursor(),
      EditorState.tabSize.of(2),
      indentUnit.of("  "),
      indentService.of(indentation),
      bracketMatching(),
      closeBrackets(),
      highlightActiveLine(),
      highlightSelectionMatches(),
      search({ top: true }),
      yaml(),
      syntaxHighlighting(COLOURS),
      LOOK,
      EditorView.lineWrapping,
      hanging,
      tooltips({ position: "fixed" }),
      autocompletion({ override: [complete], activateOnTyping: true }),
      hoverTooltip(explain),
      EditorView.contentAttributes.of({ "aria-label": "Scenario, YAML", spellcheck: "false" }),
      Prec.highest(keymap.of([{ key: "Mod-s", preventDefault: true, run: () => this.save() }])),
      keymap.of([
        ...closeBracketsKeymap,
        ...defaultKeymap,
        ...searchKeymap,
        ...historyKeymap,
        ...completionKeymap,
        ...lintKeymap,
        indentWithTab,
      ]),
      EditorView.updateListener.of((update) => update.docChanged && this.changed(update)),
      EditorView.domEventHandlers({ blur: () => void this.send() }),
    ];
  }

  get text() {
    return this.view.state.doc.toString();
  }

  // The page has been drawn anew. Only a new revision is a new text; else what stands here is newer.
  update(component) {
    const { data } = (this.component = component);
    if (data.revision === this.revision) return;
    this.revision = data.revision;
    this.sent = data.text;
    this.tell("");
    const change = difference(this.text, data.text);
    if (change) this.view.dispatch({ changes: change, annotations: fromServer.of(true) });
    this.keep();
    this.check();
  }

  changed(update) {
    this.keep();
    later(this, "checking", CHECK_MS, () => this.check());
    if (update.transactions.some((one) => one.annotation(fromServer))) return;
    this.tell("");
    later(this, "sending", SEND_MS, () => this.send());
  }

  send() {
    clearTimeout(this.sending);
    if (this.text === this.sent) return;
    this.sent = this.text;
    this.component.setStateValue("edit", this.edit());
  }

  save() {
    clearTimeout(this.sending);
    this.sent = this.text;
    this.component.setTriggerValue("save", this.edit());
    return true;
  }

  edit() {
    const { origin } = this.component.data;
    return { text: this.text, revision: this.revision, origin, serial: Date.now() };
  }

  // Against a refresh: the page's session is a new one then, and knows nothing of what was typed.
  keep() {
    const { origin, session } = this.component.data;
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ origin, session, text: this.text }));
    } catch {
      // Full, or forbidden by the browser's settings: then a refresh starts from what was saved.
    }
  }

  tell(words) {
    this.notice.textContent = words;
    this.notice.hidden = !words;
  }

  async check() {
    clearTimeout(this.checking);
    const text = this.text;
    const asked = (this.asked = (this.asked ?? 0) + 1);
    let answer;
    try {
      const reply = await fetch(new URL("/lab/scenario/check", location.origin), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ text, folder: this.component.data.folder }),
      });
      answer = await reply.json();
      if (!reply.ok) throw new Error(answer.error);
    } catch (error) {
      if (asked === this.asked && !this.ended) this.say(`Not checked: ${error.message || "the app is away"}`, "away");
      return;
    }
    if (asked === this.asked && !this.ended) this.show(answer);
  }

  show(answer) {
    const found = answer.problems.map((one) => ({ ...one, ...span(this.view.state.doc, one) }));
    const diagnostics = found.map(({ from, to, message }) => ({ from, to, severity: "error", message }));
    this.view.dispatch(setDiagnostics(this.view.state, diagnostics));
    this.list.replaceChildren(...found.map((one) => this.line(one)));
    const count = found.length === 1 ? "1 problem" : `${found.length} problems`;
    if (answer.ok) this.say(`No problems. ${answer.load ?? ""}`, "good");
    else this.say(`${count} to mend`, "bad");
  }

  line(problem) {
    const item = document.createElement("li");
    const button = add(item, "button", "");
    button.type = "button";
    add(button, "b", "").textContent = problem.line ? `line ${problem.line}` : "file";
    if (problem.path) add(button, "code", "").textContent = problem.path;
    add(button, "span", "").textContent = problem.message;
    button.onclick = () => {
      this.view.dispatch({
        selection: { anchor: problem.from },
        effects: EditorView.scrollIntoView(problem.from, { y: "center" }),
      });
      this.view.focus();
    };
    return item;
  }

  say(words, state) {
    this.status.textContent = words;
    this.status.dataset.state = state;
  }

  end() {
    this.ended = true;
    clearTimeout(this.checking);
    clearTimeout(this.sending);
    this.view.destroy();
  }
}

function later(owner, name, wait_ms, act) {
  clearTimeout(owner[name]);
  owner[name] = setTimeout(act, wait_ms);
}

function add(parent, tag, name) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  parent.append(made);
  return made;
}

// What was typed before a refresh, if it is about the same scenario and not what the page has.
function restored({ origin, session, text }) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    const other = kept && kept.origin === origin && kept.session !== session && kept.text !== text;
    return other && typeof kept.text === "string" ? kept.text : null;
  } catch {
    return null;
  }
}

// The one stretch in which two texts differ, so that the cursor stays where it is.
function difference(old, now) {
  if (old === now) return null;
  let from = 0;
  while (from < old.length && from < now.length && old[from] === now[from]) from++;
  let end = 0;
  while (end < old.length - from && end < now.length - from && old.at(-1 - end) === now.at(-1 - end)) end++;
  return { from, to: old.length - end, insert: now.slice(from, now.length - end) };
}

// From where a problem stands to the end of the word there.
function span(doc, { line, column }) {
  const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
  const from = Math.min(at.from + Math.max(column - 1, 0), at.to);
  const word = /^[\w.$/-]+|^\S/.exec(at.text.slice(from - at.from));
  return { from, to: from + (word ? word[0].length : 0) };
}

// ---- the schema's help ----------------------------------------------------------------------------------------------

async function learn() {
  if (outline) return;
  try {
    const reply = await fetch(new URL("/lab/scenario/outline", location.origin));
    if (reply.ok) outline = await reply.json();
  } catch {
    // Without it there is no completion; it is asked for again with the next editor.
  }
}

function complete(context) {
  if (!outline) return null;
  const place = contextAt(context.state.doc.toString(), context.pos);
  if (place.mode === "none" || (!context.explicit && place.mode === "key" && place.word.from === context.pos))
    return null;
  const names = shapesHere(place);
  const options = place.mode === "key" ? keyOptions(place, names) : valueOptions(place, names);
  return options.length ? { from: Math.min(place.word.from, context.pos), options, validFor: /^[\w.-]*$/ } : null;
}

// What says which kind of thing this is may become any other kind; all else depends on the kind that it is.
function shapesHere({ path, key, siblings }) {
  return shapesAt(outline, path, key === "kind" || key === "dist" ? {} : siblings);
}

function keyOptions(place, names) {
  const fields = keysAt(outline, names).filter((field) => field.name === place.key || !(field.name in place.siblings));
  return fields.map((field, index) => ({
    label: field.name,
    apply: place.key ? field.name : `${field.name}: `,
    type: "property",
    detail: field.unit || (field.required ? "required" : ""),
    info: () => told(field.name, meaning(outline, field), facts(field), field.formula),
    boost: 99 - index,
  }));
}

function valueOptions(place, names) {
  const field = fieldOf(outline, names, place.key);
  const choices = field?.kind === "switch" ? ["true", "false"] : (field?.choices ?? []);
  return choices.map((choice, index) => ({
    label: choice,
    type: "enum",
    info: () => told(choice, choiceMeaning(outline, names, place.key, choice) || field.doc, "", ""),
    boost: 99 - index,
  }));
}

function explain(view, pos) {
  if (!outline) return null;
  const place = contextAt(view.state.doc.toString(), pos);
  if (place.mode !== "key" || !place.key) return null;
  const names = shapesHere(place);
  const field = fieldOf(outline, names, place.key);
  if (!field) return null;
  const doc = meaning(outline, field) || choiceMeaning(outline, names, place.key, place.siblings[place.key]);
  const dom = () => ({ dom: told(field.name, doc, facts(field), field.formula) });
  return { pos: place.word.from, end: place.word.to, above: true, create: dom };
}

function told(name, doc, small, formula) {
  const box = document.createElement("div");
  box.className = "help";
  add(box, "b", "").textContent = name;
  if (doc) add(box, "p", "").textContent = doc;
  if (formula) add(box, "code", "").textContent = formula;
  if (small) add(box, "small", "").textContent = small;
  return box;
}

// A new line stands below the last one; below a key without a value, one step deeper.
function indentation(context, pos) {
  const before = context.state.sliceDoc(0, pos).trimEnd();
  const line = before.slice(before.lastIndexOf("\n") + 1);
  const columns = line.length - line.replace(/^[\s-]+/, "").length;
  return /:(\s+[>|][+-]?)?$/.test(line) ? columns + 2 : columns;
}

// ---- what goes on in the next line is indented as its first one, and two more -----------------------------------------

const hanging = ViewPlugin.fromClass(
  class {
    constructor(view) {
      this.decorations = hung(view);
    }
    update(update) {
      if (update.docChanged || update.viewportChanged) this.decorations = hung(update.view);
    }
  },
  { decorations: (plugin) => plugin.decorations },
);

function hung(view) {
  const marks = new RangeSetBuilder();
  for (const { from, to } of view.visibleRanges) {
    for (let at = from; at <= to;) {
      const line = view.state.doc.lineAt(at);
      const columns = line.text.length - line.text.trimStart().length + 2;
      const style = `text-indent: -${columns}ch; padding-left: calc(${columns}ch + 6px)`;
      marks.add(line.from, line.from, Decoration.line({ attributes: { style } }));
      at = line.to + 1;
    }
  }
  return marks.finish();
}

// ---- looks: the page's own colours, light and dark -------------------------------------------------------------------

const COLOURS = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--key)" },
  { tag: [tags.string, tags.special(tags.string), tags.content], color: "var(--value)" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: "var(--quiet)" },
]);

const LOOK = EditorView.theme({
  "&": { height: "100%", color: "var(--st-text-color)", backgroundColor: "transparent", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--st-code-font)", lineHeight: "1.55", overflow: "auto" },
  ".cm-content": { caretColor: "var(--st-text-color)" },
  ".cm-cursor, .cm-dropCursor": { borderLeftColor: "var(--st-text-color)" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--quiet)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--line)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selected)",
  },
  ".cm-selectionMatch": { backgroundColor: "var(--selected)" },
  ".cm-matchingBracket, &.cm-focused .cm-matchingBracket": { backgroundColor: "var(--selected)" },
  ".cm-lintRange-error": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--bad) 1px",
    textUnderlineOffset: "3px",
  },
  ".cm-panels": {
    backgroundColor: "var(--st-secondary-background-color)",
    color: "var(--st-text-color)",
    border: "none",
  },
  ".cm-textfield, .cm-button": {
    backgroundImage: "none",
    backgroundColor: "var(--st-background-color)",
    color: "var(--st-text-color)",
    border: "1px solid var(--st-border-color)",
  },
  ".cm-tooltip": {
    backgroundColor: "var(--st-background-color)",
    color: "var(--st-text-color)",
    border: "1px solid var(--st-border-color)",
    borderRadius: "6px",
    boxShadow: "0 4px 16px rgba(0,0,0,.18)",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": {
    backgroundColor: "var(--selected)",
    color: "var(--st-text-color)",
  },
  ".cm-completionInfo": { padding: "0", maxWidth: "340px" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
});
