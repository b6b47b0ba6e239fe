// The members: the scripts "members-content" (JSON) and "members-arrays" (base64 of gzip) that the page carries, and
// what is computed from them. Nothing here touches what is shown.

const TYPES = { i1: Int8Array, i2: Int16Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };
const LAST_LEVEL = -128; // of a point of a curve that is missing
const natural = new Intl.Collator("en", { numeric: true });

const sweep = { name: "", path: "", rows: 0, columns: new Map(), metric: null, curves: null };

async function openSweep() {
  const content = JSON.parse($("members-content").textContent);
  const buffer = await arraysIn("members-arrays");
  const { columns, curves, ...rest } = content;
  Object.assign(sweep, rest);
  for (const column of columns) sweep.columns.set(column.name, asColumn(column, buffer));
  sweep.curves = curves ? asCurves(curves, buffer) : null;
}

const columnOf = (name) => sweep.columns.get(name);
const memberOf = (row) => columnOf("member").numbers[row];

// A column: `numbers` has a number for each row, NaN where it is missing; of texts these are places in `names`, which
// are in their natural order. `sorted` has all that are there in order, `distinct` each value once.
function asColumn({ name, role, low, type, data, names }, buffer) {
  const numbers = Float64Array.from(new TYPES[type](buffer, ...data));
  const column = { name, role, isLowBest: low, names: null, numbers };
  if (names) {
    const order = [...names.keys()].sort((one, other) => natural.compare(names[one], names[other]) || one - other);
    const place = new Float64Array(names.length);
    order.forEach((from, to) => { place[from] = to; });
    column.names = order.map((from) => names[from]);
    column.numbers = column.numbers.map((number) => (number >= 0 ? place[number] : NaN));
  }
  column.sorted = column.numbers.filter((number) => !Number.isNaN(number)).sort();
  column.distinct = column.sorted.filter((number, place) => number !== column.sorted[place - 1]);
  column.missing = sweep.rows - column.sorted.length;
  column.differs = column.distinct.length + (column.missing > 0) > 1;
  column.isWhole = !names && role !== "metric" && column.distinct.every(Number.isInteger);
  return column;
}

// ---- values as text

const signed = (text) => text.replace("Infinity", "∞").replace("e+", "e").replaceAll("-", "−");

// Four digits, and no more of them than there are.
function told(number) {
  if (Number.isNaN(number)) return "–";
  const exact = String(number);
  const size = Math.abs(number);
  const isFar = size !== 0 && (size < 0.001 || size >= 1e5);
  const text = !Number.isFinite(number) ? exact
    : isFar ? number.toExponential(3).replace(/\.?0+e/, "e") : exact.length <= 6 ? exact : number.toPrecision(4);
  return signed(text);
}

const isMissing = (column, row) => Number.isNaN(column.numbers[row]);
const nameOf = (column, number) => (Number.isNaN(number) ? "–" : column.names[number] || "empty");
const tellNumber = (column, number) => (column.names ? readable(nameOf(column, number))
  : column.isWhole && !Number.isNaN(number) ? signed(String(number)) : told(number));
const tell = (column, row) => tellNumber(column, column.numbers[row]);

// ---- order

// How many of the sorted numbers come before all that are not below.
function countBelow(sorted, isBelow) {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (isBelow(sorted[middle])) from = middle + 1;
    else to = middle;
  }
  return from;
}

// From 0 for the least value to 1 for the greatest; equal ones share the middle of their places.
function rankOf({ sorted }, number) {
  if (Number.isNaN(number)) return NaN;
  const first = countBelow(sorted, (value) => value < number);
  const last = countBelow(sorted, (value) => value <= number) - 1;
  return sorted.length > 1 ? Math.max(0, Math.min(1, (first + last) / 2 / (sorted.length - 1))) : 0.5;
}

const ranksOf = (column) => (column.ranks ??= column.numbers.map((number) => rankOf(column, number)));

// The rows in the order of the first of `sorts`, where that is equal of the second...; what is missing comes last.
function ordered(rows, sorts) {
  const keys = sorts.filter(([name]) => columnOf(name)).map(([name, sign]) => [columnOf(name).numbers, sign]);
  return rows.sort((one, other) => {
    for (const [numbers, sign] of keys) {
      const [a, b] = [numbers[one], numbers[other]];
      if (a === b) continue;
      const [isNoA, isNoB] = [Number.isNaN(a), Number.isNaN(b)];
      if (isNoA || isNoB) {
        if (isNoA && isNoB) continue;
        return isNoA ? 1 : -1;
      }
      return a < b ? -sign : sign;
    }
    return one - other;
  });
}

const hasFailed = (row) => {
  const status = columnOf("status");
  return Boolean(status?.names) && nameOf(status, status.numbers[row]) === "diverged";
};

// All rows from the best on: those that diverged, or lack the metric, at the end.
function standings() {
  if (standings.rows) return standings.rows;
  const rows = Uint32Array.from({ length: sweep.rows }, (_, row) => row);
  const metric = columnOf(sweep.metric);
  const isOut = rows.map((row) => (!metric || !Number.isFinite(metric.numbers[row]) || hasFailed(row) ? 1 : 0));
  if (metric) ordered(rows, [[metric.name, metric.isLowBest ? 1 : -1]]);
  standings.rows = [...rows.filter((row) => !isOut[row]), ...rows.filter((row) => isOut[row])];
  standings.place = new Map();
  standings.rows.forEach((row, place) => { if (!isOut[row]) standings.place.set(row, place); });
  return standings.rows;
}

// ---- curves

function asCurves({ points, stride, grids, grid, metrics }, buffer) {
  const found = Object.entries(metrics).map(([name, { log, levels, scale, offset }]) => [name, {
    log, levels: new Int8Array(buffer, ...levels), scale: new Float32Array(buffer, ...scale),
    offset: new Float32Array(buffer, ...offset),
  }]);
  const steps = { grids: new Int32Array(buffer, ...grids), grid: new Int32Array(buffer, ...grid) };
  return { points, stride, ...steps, metrics: new Map(found) };
}

// The curves of a row by metric: pairs of step and value, without those that are missing.
function curvesOf(row) {
  if (!sweep.curves) return new Map();
  const { points, grids, grid, metrics } = sweep.curves;
  const found = new Map();
  for (const [name, { log, levels, scale, offset }] of metrics) {
    const pairs = [];
    for (let point = 0; point < points; point++) {
      const level = levels[row * points + point];
      if (level === LAST_LEVEL) continue;
      const value = offset[row] + scale[row] * level;
      pairs.push([grids[grid[row] * points + point], log ? Math.exp(value) : value]);
    }
    if (pairs.length) found.set(name, pairs);
  }
  return found;
}

// ---- the table as a file

const CSV_QUOTED = /[",\r\n]|^\s|\s$/;

function asCsv(rows) {
  const columns = [...sweep.columns.values()];
  const cell = (text) => (CSV_QUOTED.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const value = (column, row) => {
    const number = column.numbers[row];
    if (Number.isNaN(number)) return "";
    return column.names ? cell(column.names[number]) : String(number).replace("Infinity", "inf");
  };
  const lines = [columns.map((column) => cell(column.name)).join(",")];
  for (const row of rows) lines.push(columns.map((column) => value(column, row)).join(","));
  return `${lines.join("\n")}\n`.toWellFormed();
}
