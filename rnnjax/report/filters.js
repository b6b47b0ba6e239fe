// What the reader has chosen, which the address keeps and brings back, and what a filter says.

const state = {
  sorts: [], filters: new Map(), colour: "", x: "", y: "", axes: [], row: null, ranks: false, all: false,
};

// ---- what a filter says: a test of a number, and the stretches of numbers that pass, for the axes to show

const GRAMMAR = [
  ["0.01..0.1", "numbers from the one to the other, both included; either may be left out"],
  [">0.5 <=3 64,128", "above, at most; one of several"],
  ["none", "what has no value"],
  ["ada,sgd", "texts that hold one of these"],
  ["=adam", "texts that are just this"],
  ["!diverged", "all but these"],
];

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function asNumber(text) {
  const plain = text.trim().replaceAll("−", "-");
  if (/^[+-]?(inf|∞)$/i.test(plain)) return plain.startsWith("-") ? -Infinity : Infinity;
  return NUMBER.test(plain) ? Number(plain) : null;
}

// The stretch [from, to] that a part such as `0.1..0.5`, `<3` or `7` stands for; null: it stands for none.
function stretchOf(column, part) {
  const range = part.match(/^(.*?)\.\.(?!\.)(.*)$/);
  if (range && (range[1].trim() || range[2].trim())) {
    const ends = [range[1].trim() ? asNumber(range[1]) : -Infinity, range[2].trim() ? asNumber(range[2]) : Infinity];
    return ends.includes(null) ? null : ends;
  }
  const [, sign, rest] = part.match(/^([<>]?=?)(.*)$/s);
  const number = asNumber(rest);
  if (number === null) return null;
  const { distinct } = column;
  if (sign === "<") return [-Infinity, distinct[countBelow(distinct, (value) => value < number) - 1] ?? NaN];
  if (sign === "<=") return [-Infinity, number];
  if (sign === ">") return [distinct[countBelow(distinct, (value) => value <= number)] ?? NaN, Infinity];
  if (sign === ">=") return [number, Infinity];
  const shown = tellNumber(column, number); // what is read off the table is shortened
  const alike = distinct.includes(number) ? [number] : distinct.filter((value) => tellNumber(column, value) === shown);
  return alike.length ? [alike[0], alike.at(-1)] : [number, number];
}

// `{ passes, stretches }`, or null where the text says nothing that can be understood.
function understood(column, text) {
  const isNot = text.startsWith("!");
  const asked = isNot ? text.slice(1).trim() : text.trim();
  if (!asked) return null;
  const found = column.names ? textFilter(column, asked) : numberFilter(column, asked);
  if (!found || !isNot) return found;
  return { passes: (number) => !found.passes(number), stretches: [] };
}

function numberFilter(column, text) {
  const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
  const takesMissing = parts.includes("none");
  const stretches = parts.filter((part) => part !== "none").map((part) => stretchOf(column, part));
  if (!parts.length || stretches.includes(null)) return null;
  const passes = (number) =>
    (Number.isNaN(number) ? takesMissing : stretches.some(([from, to]) => number >= from && number <= to));
  return { passes, stretches, takesMissing };
}

function textFilter(column, text) {
  const isExact = text.startsWith("=");
  const parts = isExact ? exactTexts(text) : text.toLowerCase().split(",").map((part) => part.trim()).filter(Boolean);
  const takesMissing = !isExact && parts.includes("none");
  const hits = column.names.map((name) =>
    isExact ? parts.includes(name) : parts.some((part) => name.toLowerCase().includes(part)));
  const stretches = [...hits.keys()].filter((place) => hits[place]).map((place) => [place, place]);
  return { passes: (number) => (Number.isNaN(number) ? takesMissing : hits[number]), stretches, takesMissing };
}

// Texts after "=": a list with commas, or of JSON where a text holds what would be misread.
function exactTexts(text) {
  const list = text.slice(1).trim();
  try {
    const parsed = JSON.parse(list);
    if (Array.isArray(parsed)) return parsed.map(String);
  } catch { /* a plain list */ }
  return list.split(",").map((part) => part.trim());
}

const IS_PLAIN = /^[^\s,"[\]][^,"[\]]*$/;
const sayTexts = (texts) =>
  `=${texts.every((text) => IS_PLAIN.test(text) && text === text.trim()) ? texts.join(",") : JSON.stringify(texts)}`;

// A range in four digits that holds all between the two.
function sayRange(from, to) {
  const rounded = (number, isUp) => {
    if (number === 0 || !Number.isFinite(number)) return String(number);
    const unit = 10 ** (Math.floor(Math.log10(Math.abs(number))) - 3);
    const digits = (isUp ? Math.ceil : Math.floor)(Number((number / unit).toPrecision(12)));
    return String(Number((digits * unit).toPrecision(4)));
  };
  return `${rounded(from, false)}..${rounded(to, true)}`;
}

// ---- what passes

const kept = { rows: new Uint32Array(), is: new Uint8Array(), filters: new Map(), wrong: new Set() };

// Which rows pass all filters, in the order of the table.
function refilter() {
  const tests = [];
  kept.wrong.clear();
  kept.filters.clear();
  for (const [name, text] of state.filters) {
    const column = columnOf(name);
    const filter = understood(column, text);
    if (filter) {
      tests.push([column.numbers, filter.passes]);
      kept.filters.set(name, filter);
    } else {
      kept.wrong.add(name);
    }
  }
  kept.is = Uint8Array.from({ length: sweep.rows }, (_, row) =>
    (tests.every(([numbers, passes]) => passes(numbers[row])) ? 1 : 0));
  const rows = new Uint32Array(sweep.rows);
  let count = 0;
  for (let row = 0; row < sweep.rows; row++) if (kept.is[row]) rows[count++] = row;
  kept.rows = ordered(rows.subarray(0, count), state.sorts);
}

const leftOut = () => Uint32Array.from(kept.is.keys()).filter((row) => !kept.is[row]);

function setFilter(name, text) {
  if (text.trim()) state.filters.set(name, text);
  else state.filters.delete(name);
}

// ---- the address

function keepAddress() {
  const filters = [...state.filters].filter(([name]) => !kept.wrong.has(name));
  remember({
    section: "members",
    member: state.row === null ? "" : memberOf(state.row),
    sort: JSON.stringify(state.sorts),
    filters: filters.length ? JSON.stringify(filters) : "",
    axes: JSON.stringify(state.axes),
    colour: state.colour,
    x: state.x,
    y: state.y,
    ranks: state.ranks ? 1 : "",
    all: state.all ? 1 : "",
  });
}

function listIn(text) {
  try {
    const list = JSON.parse(text ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

function readAddress() {
  const asked = wanted();
  const base = beginning();
  const known = (name, otherwise) => (sweep.columns.has(name) ? name : otherwise);
  const pairs = (text) => listIn(text).filter((pair) => Array.isArray(pair) && sweep.columns.has(pair[0]));
  const sorts = pairs(asked.sort).map(([name, sign]) => [name, sign === -1 ? -1 : 1]);
  const axes = listIn(asked.axes).filter((name, place, all) => sweep.columns.has(name) && all.indexOf(name) === place);
  const row = asked.member ? columnOf("member").numbers.indexOf(Number(asked.member)) : -1;
  Object.assign(state, {
    sorts: sorts.length ? sorts : base.sorts,
    filters: new Map(pairs(asked.filters).map(([name, text]) => [name, String(text)])),
    axes: axes.length ? axes : base.axes,
    colour: known(asked.colour, base.colour),
    x: known(asked.x, base.x),
    y: known(asked.y, base.y),
    row: row >= 0 ? row : base.row,
    ranks: asked.ranks === "1",
    all: asked.all === "1",
  });
}

const MOST_AXES = 9;

// How much there is to see of a choice against a metric: seeds draw weights, and texts have no order.
const spread = ({ name, names, distinct }) => (names || /(^|\.)seed$/.test(name) ? 0 : distinct.length);

// What is shown to someone who has chosen nothing: the best member, what differs, and how that bears on the metric.
function beginning() {
  const columns = [...sweep.columns.values()];
  const changed = columns.filter((column) => column.role === "choice" && column.differs);
  const metrics = columns.filter((column) => column.role === "metric" && column.differs && !column.names);
  const metric = columnOf(sweep.metric) ?? metrics[0] ?? columnOf("member");
  const [listing] = [...changed].sort((one, other) => spread(other) - spread(one)); // of equal ones the first
  const axes = [...changed.slice(0, MOST_AXES), metric];
  if (axes.length < 2) axes.unshift(columnOf("member"));
  return {
    sorts: [[metric.name, metric.isLowBest || metric.role !== "metric" ? 1 : -1]],
    axes: [...new Set(axes.map((column) => column.name))],
    colour: metric.name,
    x: (listing ?? columnOf("member")).name,
    y: metric.name,
    row: sweep.rows ? standings()[0] : null,
  };
}
