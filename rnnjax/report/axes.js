// Where a value stands on an axis, and in which colour.

const LISTED = 12; // values that are chosen from so few stand at equal distances
const FENCE = 4; // what is so many quartile distances from the quartiles is beyond the end of an axis
const WIDE = 10; // the greatest is so many times the least on a logarithmic axis, at least

function niceTicks(low, high, count) {
  const raw = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((times) => times * unit >= raw * 0.999);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick++) {
    ticks.push(Number((tick * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high, count) {
  const powers = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) powers.push(power);
  const every = Math.ceil(powers.length / count);
  const times = high - low < 1.5 ? [1, 2, 5] : [1];
  const ticks = powers.filter((power) => power % every === 0).flatMap((power) =>
    times.map((factor) => Number((factor * 10 ** power).toPrecision(12))));
  return ticks.filter((tick) => Math.log10(tick) >= low - 1e-9 && Math.log10(tick) <= high + 1e-9);
}

// An axis: `share` of a number is 0 at its low and 1 at its high end, NaN where it has no place; `number` is its
// inverse; `ticks` are numbers.
function axisOf(column, count = 5) {
  const isListed = column.names || (column.role === "choice" && column.distinct.length <= LISTED);
  if (isListed) return listedAxis(column, count);
  const finite = column.distinct.filter(Number.isFinite);
  if (!finite.length) return { kind: "empty", share: () => NaN, number: () => NaN, ticks: [] };
  if (state.ranks) return rankAxis(column, count);
  const [least, greatest] = column.role === "metric" ? fenced(column) : [finite[0], finite.at(-1)];
  const isLog = isFarFlung(column, least, greatest);
  const to = isLog ? Math.log10 : (number) => number;
  const from = isLog ? (place) => 10 ** place : (place) => place;
  let [low, high] = [to(least), to(greatest)];
  if (low === high) [low, high] = [low - 1, high + 1];
  const within = (number) => Math.max(least, Math.min(greatest, number));
  const share = (number) => (Number.isFinite(number) ? (to(within(number)) - low) / (high - low) : NaN);
  const ticks = isLog ? logTicks(low, high, count) : niceTicks(low, high, count);
  const beyond = { low: finite[0] < least ? least : null, high: finite.at(-1) > greatest ? greatest : null };
  return { kind: isLog ? "log" : "linear", share, number: (at) => from(low + at * (high - low)), ticks, beyond };
}

// Whether logarithms spread the values more evenly: the middle one of them is then nearer to the middle.
function isFarFlung({ sorted }, least, greatest) {
  if (!(least > 0) || greatest / least < WIDE) return false;
  const middle = sorted[sorted.length >> 1];
  const off = (to) => Math.abs((to(middle) - to(least)) / (to(greatest) - to(least)) - 0.5);
  return off(Math.log) < off((number) => number);
}

// Where the axis of a metric ends: a few members that exploded would press all others together, so that what is far
// out (Tukey's fences, of logarithms where all are above zero) stands at the end of the axis.
function fenced({ sorted }) {
  const finite = sorted.filter(Number.isFinite);
  const to = finite[0] > 0 ? Math.log : (number) => number;
  const quarter = (part) => to(finite[Math.floor(part * (finite.length - 1))]);
  const [first, third] = [quarter(0.25), quarter(0.75)];
  const reach = FENCE * (third - first);
  const isInside = (number) => to(number) >= first - reach && to(number) <= third + reach;
  const inside = reach > 0 ? finite.filter(isInside) : finite;
  return [inside[0], inside.at(-1)];
}

function listedAxis(column, count) {
  const values = column.distinct;
  const place = new Map([...values].map((value, at) => [value, at]));
  const last = Math.max(1, values.length - 1);
  const middle = values.length === 1 ? 0.5 : 0;
  const every = Math.max(1, Math.ceil(values.length / (2 * count)));
  return {
    kind: "listed",
    share: (number) => (place.has(number) ? middle + place.get(number) / last : NaN),
    number: (at) => values[Math.max(0, Math.min(values.length - 1, Math.round((at - middle) * last)))],
    ticks: [...values.filter((_, at) => at % every === 0)],
    count: values.length,
  };
}

function rankAxis(column, count) {
  const { sorted } = column;
  const at = (share) => sorted[Math.max(0, Math.min(sorted.length - 1, Math.round(share * (sorted.length - 1))))];
  const ticks = [...Array(count).keys()].map((tick) => at(tick / (count - 1)));
  const share = (number) => (Number.isFinite(number) ? rankOf(column, number) : NaN);
  return { kind: "rank", share, number: at, ticks: [...new Set(ticks.filter(Number.isFinite))] };
}

// The ticks of an axis with what is written there: an end beyond which there is more says so.
function written(column, axis) {
  const marks = axis.ticks.map((tick) => [axis.share(tick), tellNumber(column, tick)]);
  for (const [sign, end] of [["≤ ", axis.beyond?.low], ["≥ ", axis.beyond?.high]]) {
    if (end == null) continue;
    const at = axis.share(end);
    const near = marks.findIndex(([share]) => Math.abs(share - at) < 0.07);
    marks.splice(near < 0 ? marks.length : near, near < 0 ? 0 : 1, [at, sign + told(end)]);
  }
  return marks;
}

// All rows' shares, kept until the axes change their kind.
function sharesOn(column, axis) {
  const key = axis.kind;
  column.shares ??= {};
  column.shares[key] ??= Float32Array.from(column.numbers, axis.share);
  return column.shares[key];
}

// The filter that keeps what is between two shares of an axis.
function sayBetween(column, axis, from, to) {
  if (axis.kind === "empty") return "";
  if (axis.kind !== "listed") {
    const range = sayRange(axis.number(Math.max(0, Math.min(1, from))), axis.number(Math.max(0, Math.min(1, to))));
    const [low, high] = range.split("..");
    return `${axis.beyond?.low != null && from <= 0 ? "" : low}..${axis.beyond?.high != null && to >= 1 ? "" : high}`;
  }
  const inside = [...column.distinct].filter((value) => axis.share(value) >= from && axis.share(value) <= to);
  if (!inside.length) return "";
  if (column.names) return sayTexts(inside.map((place) => column.names[place]));
  return inside.join(",");
}

// ---- colours: by rank, the strongest for what is best, or for the most; a colour each where there are few names

const STRENGTHS = { // viridis (van der Walt and Smith, 2015), from what is next to the paper to what is far from it
  light: [[214, 220, 70], [110, 205, 88], [45, 168, 132], [42, 117, 142], [65, 68, 135], [68, 1, 84]],
  dark: [[74, 62, 130], [58, 96, 150], [38, 140, 145], [66, 190, 113], [160, 218, 57], [253, 231, 37]],
};
const NAMED = { // Okabe and Ito's, as in the figures; on black paler ones
  light: ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#4d4d4d", "#56b4e9"],
  dark: ["#56b4e9", "#ff9a4d", "#2fc79a", "#dd8fd0", "#e5c158", "#b9b9b9", "#9fd0ff"],
};
const NEUTRAL = { light: "#8a8a90", dark: "#7d7e85" }; // of what has no value
const LEVELS = 32;

function strength(anchors, level) {
  const place = (level / LEVELS) * (anchors.length - 1);
  const from = Math.min(Math.floor(place), anchors.length - 2);
  const parts = anchors[from].map((low, part) => Math.round(low + (anchors[from + 1][part] - low) * (place - from)));
  return `rgb(${parts.join(" ")})`;
}
const RAMPS = Object.fromEntries(Object.entries(STRENGTHS).map(([name, anchors]) =>
  [name, Array.from({ length: LEVELS + 1 }, (_, level) => strength(anchors, level))]));

const isNamed = (column) => column.names !== null && column.names.length <= NAMED.light.length;
// From 0 for the weakest colour to 1 for the strongest, NaN without a value.
const strengthsOf = (column) => {
  const ranks = ranksOf(column);
  return isTurned(column) ? ranks.map((rank) => 1 - rank) : ranks;
};
const isTurned = (column) => column.role === "metric" && column.isLowBest; // the least is the strongest

// The place of each row's colour in the palette, -1 where it has no value.
function levelsOf(column) {
  if (isNamed(column)) return Int16Array.from(column.numbers, (number) => (Number.isNaN(number) ? -1 : number));
  column.levels ??= Int16Array.from(strengthsOf(column), (strong) =>
    (Number.isNaN(strong) ? -1 : Math.round(LEVELS * strong)));
  return column.levels;
}
const paletteOf = (column) => (isNamed(column) ? NAMED : RAMPS)[theme()];
const colourIn = (palette, level) => (level < 0 ? NEUTRAL[theme()] : palette[level]);

// What decides which members are drawn above others: the colour, or the metric where colours have no order.
const weight = () => {
  const colour = columnOf(state.colour);
  return isNamed(colour) ? columnOf(sweep.metric) ?? colour : colour;
};

// Rows from the weakest to the strongest, so that what matters is drawn last.
function fromWeak(rows) {
  const strengths = strengthsOf(weight()).map((strong) => (Number.isNaN(strong) ? -1 : strong));
  return Uint32Array.from(rows).sort((one, other) => strengths[one] - strengths[other] || one - other);
}
