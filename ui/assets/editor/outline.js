// What the schema says about a place in a scenario: the keys that may stand there, what they mean, what they may be.
// The shapes come from /lab/scenario/outline; ui/studio_schema.py tells what is in them.

const ROOT = "Scenario";

// The shapes that stand at a path. `siblings` (of the innermost mapping) tell unions apart by `kind` or `dist`.
export function shapesAt(outline, path, siblings) {
  let names = [ROOT];
  let field = null;
  for (const [index, step] of path.entries()) {
    if (field && (field.kind === "table" || field.kind === "list")) {
      names = field.shapes;
      field = null;
      continue;
    }
    field = fieldOf(outline, names, step);
    if (!field) return [];
    if (field.kind === "group") {
      names = field.shapes;
      field = index === path.length - 1 ? field : null;
    } else if (index === path.length - 1 || (field.kind !== "table" && field.kind !== "list")) {
      return [];
    }
  }
  return chosen(outline, names, siblings);
}

function chosen(outline, names, siblings) {
  if (names.length < 2) return names;
  const fitting = names.filter((name) =>
    ["kind", "dist"].some((by) => outline[name].fields[by]?.choices.includes(siblings[by])),
  );
  return fitting.length ? fitting : names;
}

// The field of that name; of several shapes, all their choices together.
export function fieldOf(outline, names, key) {
  const found = names.map((name) => outline[name]?.fields[key]).filter(Boolean);
  if (!found.length) return null;
  return { ...found[0], choices: [...new Set(found.flatMap((field) => field.choices))] };
}

export function keysAt(outline, names) {
  return [...new Set(names.flatMap((name) => Object.keys(outline[name].fields)))].map((key) =>
    fieldOf(outline, names, key),
  );
}

export function meaning(outline, field) {
  return field.doc || (field.shapes.length === 1 ? outline[field.shapes[0]].doc.split("\n\n")[0] : "");
}

// What a choice of `kind` or `dist` means: the shape that carries it says so.
export function choiceMeaning(outline, names, key, choice) {
  const shape = names.map((name) => outline[name]).find((one) => one.fields[key]?.choices.includes(choice));
  return names.length > 1 && shape ? shape.doc.split("\n\n")[0] : "";
}

// `number, above 0 to 3,600 s, default 1`.
export function facts(field) {
  const kinds = { whole: "whole number", number: "number", text: "text", switch: "true or false", choice: "one of" };
  const said = [kinds[field.kind] ?? "", field.allowed];
  if (field.kind === "choice") said[0] = `one of ${field.choices.join(", ")}`;
  if (field.required) said.push("required");
  else if (field.default !== null && typeof field.default !== "object" && field.default !== "")
    said.push(`default ${field.default}`);
  else if (field.optional) said.push("off by default");
  return said.filter(Boolean).join(" · ");
}
