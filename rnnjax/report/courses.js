// The courses: the scripts "exploration-N" (JSON) and "arrays-N" (base64 of gzip) that the page carries, and what is
// computed from them. Nothing here touches what is shown.

const MISSING = -128; // the level of a value that is not finite
const APART = 20; // steps between two places that are called alike
const BORDER = 5; // steps on each side of a border that are compared
const LISTED = 8; // units or places in a list

async function unpacked(number) {
  const content = JSON.parse(document.getElementById(`exploration-${number}`).textContent);
  return asRun(number, content, await arraysIn(`arrays-${number}`));
}

function asRun(number, content, buffer) {
  const steps = content.symbols.length;
  const layers = new Map();
  for (const [field, layer] of Object.entries(content.layers)) layers.set(field, asLayer(field, layer, buffer, steps));
  const notes = new Map();
  for (const [field, unit, concept, effect, direction, q] of content.notes) {
    const key = `${field} ${unit}`;
    if (!notes.has(key)) notes.set(key, []);
    notes.get(key).push({ concept: readable(concept), effect: effect ?? 0, direction: direction ?? 0, q });
  }
  for (const found of notes.values()) found.sort((one, other) => other.effect - one.effect);
  const { film } = content;
  if (film) {
    Object.assign(film, asLayer(film.field, film, buffer, film.steps.length * film.checkpoints.length));
    film.taken = film.checkpoints.length;
    film.seen = film.steps.length;
  }
  return { ...content, number, steps, layers, notes, film, text: content.symbols.join("\0") };
}

// One field: the levels of each unit over time, and what follows from them.
function asLayer(field, { units, levels, scale, offset }, buffer, length) {
  const layer = {
    field,
    units,
    length,
    levels: new Int8Array(buffer, ...levels),
    scale: new Float32Array(buffer, ...scale),
    offset: new Float32Array(buffer, ...offset),
    place: new Map(units.map((unit, place) => [unit, place])),
  };
  layer.value = (place, step) => {
    const level = layer.levels[place * length + step];
    return level === MISSING ? NaN : layer.offset[place] + layer.scale[place] * level;
  };
  // A value as text: no more places than the byte it came in can tell apart.
  layer.told = (place, step) => {
    const value = layer.value(place, step);
    if (!Number.isFinite(value)) return "–";
    const places = Math.max(0, Math.min(8, Math.floor(-Math.log10(layer.scale[place] || 1))));
    return value.toFixed(places).replace(/^-(?=[0.]+$)/, "").replace("-", "−");
  };
  return layer;
}

// Of each unit: mean and deviation of its levels, and its least and greatest value.
function momentsOf(layer) {
  if (layer.moments) return layer.moments;
  const { levels, length, units, scale, offset } = layer;
  layer.moments = units.map((_, place) => {
    let [count, sum, squares, least, greatest] = [0, 0, 0, Infinity, -Infinity];
    for (let at = place * length; at < (place + 1) * length; at++) {
      const level = levels[at];
      if (level === MISSING) continue;
      count += 1;
      sum += level;
      squares += level * level;
      if (level < least) least = level;
      if (level > greatest) greatest = level;
    }
    if (!count) return { mean: 0, deviation: 0, least: 0, greatest: 0 };
    const mean = sum / count;
    const deviation = Math.sqrt(Math.max(0, squares / count - mean * mean));
    const value = (level) => offset[place] + scale[place] * level;
    return { mean, deviation, least: value(least), greatest: value(greatest) };
  });
  return layer.moments;
}
const deviationOf = (layer, place) => momentsOf(layer)[place].deviation * layer.scale[place];

// All courses with mean 0 and deviation 1, unit by unit; what is missing, and a unit that never moves, is 0.
function standardised(layer) {
  if (layer.standard) return layer.standard;
  const { levels, length } = layer;
  layer.standard = new Float32Array(levels.length);
  momentsOf(layer).forEach(({ mean, deviation }, place) => {
    if (!(deviation > 0)) return;
    for (let at = place * length; at < (place + 1) * length; at++) {
      if (levels[at] !== MISSING) layer.standard[at] = (levels[at] - mean) / deviation;
    }
  });
  return layer.standard;
}

// ---- what is computed from it

// The most alike first, none nearer to another or to `banned` than `apart`.
function best(similarity, banned, apart) {
  const order = [...similarity.keys()].sort((one, other) => similarity[other] - similarity[one]);
  const chosen = [];
  for (const place of order) {
    if (chosen.length === LISTED) break;
    if (banned(place) || chosen.some((other) => Math.abs(other - place) < apart)) continue;
    chosen.push(place);
  }
  return chosen.map((place) => ({ step: place, similarity: similarity[place] }));
}

// Steps whose state is most like the one at `step`: cosine of the standardised states.
function neighbours(layer, step) {
  const { length, units } = layer;
  const standard = standardised(layer);
  const products = new Float64Array(length);
  const squares = new Float64Array(length);
  for (let start = 0; start < units.length * length; start += length) {
    const here = standard[start + step];
    for (let at = 0; at < length; at++) {
      const there = standard[start + at];
      products[at] += here * there;
      squares[at] += there * there;
    }
  }
  const similarity = products.map((product, at) => product / (Math.sqrt(squares[at] * squares[step]) || 1));
  return best(similarity, (place) => Math.abs(place - step) < APART, APART);
}

// Units that switch in a stretch, in deviations: inside less outside, the jumps at its borders, and `switch`, the mean
// of what there is of these (a jump down at the end counts as one up).
function switches(layer, [first, last]) {
  const { length, units } = layer;
  const standard = standardised(layer);
  const mean = (start, from, to) => {
    let sum = 0;
    for (let at = from; at < to; at++) sum += standard[start + at];
    return sum / (to - from);
  };
  const width = Math.min(BORDER, last + 1 - first);
  const found = units.map((unit, place) => {
    const start = place * length;
    const within = mean(start, first, last + 1);
    const parts = [];
    const outside = first + (length - last - 1);
    const inside = outside ? within + (within * (last + 1 - first)) / outside : NaN;
    if (outside) parts.push(inside);
    const rise = first ? mean(start, first, first + width) - mean(start, Math.max(0, first - BORDER), first) : NaN;
    if (first) parts.push(rise);
    const isOpen = last + 1 < length;
    const after = isOpen ? mean(start, last + 1, Math.min(length, last + 1 + BORDER)) : NaN;
    const fall = isOpen ? after - mean(start, last + 1 - width, last + 1) : NaN;
    if (isOpen) parts.push(-fall);
    return { unit, inside, rise, fall, switch: parts.reduce((sum, part) => sum + part, 0) / (parts.length || 1) };
  });
  return found.sort((one, other) => Math.abs(other.switch) - Math.abs(one.switch)).slice(0, LISTED);
}

// Stretches of the same length whose mean state is most like this one's: cosine of the means of standardised states.
function likeStretch(layer, [first, last]) {
  const { length, units } = layer;
  const standard = standardised(layer);
  const size = last + 1 - first;
  const products = new Float64Array(length - size + 1);
  const squares = new Float64Array(length - size + 1);
  for (let start = 0; start < units.length * length; start += length) {
    let here = 0;
    for (let at = first; at <= last; at++) here += standard[start + at];
    let sum = 0;
    for (let at = 0; at < length; at++) {
      sum += standard[start + at];
      if (at >= size) sum -= standard[start + at - size];
      if (at < size - 1) continue;
      products[at + 1 - size] += here * sum;
      squares[at + 1 - size] += sum * sum;
    }
  }
  const similarity = products.map((product, at) => product / (Math.sqrt(squares[at] * squares[first]) || 1));
  return best(similarity, (place) => Math.abs(place - first) < size, size);
}

function correlation(one, other) {
  const pairs = one.map((value, at) => [value, other[at]]).filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
  const mean = (of) => pairs.reduce((sum, pair) => sum + of(pair), 0) / pairs.length;
  const [a, b] = [mean(([x]) => x), mean(([, y]) => y)];
  const spread = Math.sqrt(mean(([x]) => (x - a) ** 2) * mean(([, y]) => (y - b) ** 2));
  return spread > 0 ? mean(([x, y]) => (x - a) * (y - b)) / spread : NaN;
}
