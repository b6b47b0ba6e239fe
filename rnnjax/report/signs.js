// How symbols, numbers and elements are made so that anything can be read, and nothing in it can do harm: text from
// data only ever becomes text.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029]/gu; // what shows as nothing, or moves what is near it
const JOINERS = ["\u200c", "\u200d"]; // between letters they make one sign of them

function picture(letter) {
  const code = letter.codePointAt(0);
  if (letter === "\n") return "⏎";
  if (letter === "\t") return "⇥";
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  return code === 127 ? "␡" : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

// Controls as pictures, one letter's marks few enough to stay on their line, no more than `most` letters.
function readable(text, most = 60) {
  const alone = [...text].length === 1;
  const shown = text
    .replace(HIDDEN, (letter) => (!alone && JOINERS.includes(letter) ? letter : picture(letter)))
    .replace(/(\p{M}{4})\p{M}+/gu, "$1…")
    .replace(/^\p{M}/u, "◌$&");
  const letters = [...shown];
  return letters.length > most ? `${letters.slice(0, most).join("")}…` : shown;
}

const NAMES = new Map([[" ", "space"], ["\n", "line break"], ["\t", "tab"], ["", "nothing"]]);
const named = (symbol) => NAMES.get(symbol) ?? `“${readable(symbol, 200)}”`;

function around(run, from, to) {
  const symbols = run.symbols.slice(Math.max(0, from), Math.max(0, to));
  return symbols.map((symbol) => readable(symbol, 24)).join(run.spaced ? " " : "");
}

const whole = (number) => number.toLocaleString("en-US");
const short = (number) => {
  if (number === null || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  const text = size !== 0 && (size < 0.001 || size >= 10000) ? number.toExponential(1) : String(+number.toPrecision(3));
  return text.replace("-", "−");
};

// ---- making elements

const $ = (id) => document.getElementById(id);

function made(tag, { text, ...attributes } = {}, ...parts) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...parts);
  return element;
}

// Text that shows nothing of itself, whatever direction it is written in.
const quoted = (text, attributes = {}) => made("bdi", { text, ...attributes });

function pressed(element, action) {
  element.addEventListener("click", action);
  return element;
}

const unitTitle = (run, field, unit) => {
  const [note] = notesOf(run, field, unit);
  return note ? `unit ${unit} — ${note.concept}` : `unit ${unit}`;
};

// ---- colours: from purple (low) over the paper to orange (high), as in the figures, in both themes

const HALF = 20; // colours on each side of the middle
const ROUNDING = 1 / 254; // by which a gate that is packed into a byte may leave 0 to 1
const ANCHORS = { // pale enough, or dark enough, that the ink of the theme can be read on all of them
  light: [[146, 131, 200], [200, 193, 227], [255, 255, 255], [246, 207, 158], [232, 145, 45]],
  dark: [[98, 82, 170], [60, 52, 98], [27, 29, 33], [88, 56, 26], [150, 84, 18]],
};
const BLANK = { light: [222, 222, 222], dark: [62, 64, 70] };

function shade(anchors, level) {
  const place = (level / (2 * HALF)) * (anchors.length - 1);
  const from = Math.min(Math.floor(place), anchors.length - 2);
  return anchors[from].map((low, part) => Math.round(low + (anchors[from + 1][part] - low) * (place - from)));
}
const LEVELS = [...Array(2 * HALF + 1).keys()];
const PALETTES = { light: LEVELS.map((k) => shade(ANCHORS.light, k)), dark: LEVELS.map((k) => shade(ANCHORS.dark, k)) };
const paper = { light: false }; // printing is on white, whatever the theme
const theme = () => (isDark() && !paper.light ? "dark" : "light");

function addPalette() {
  const css = (parts) => `rgb(${parts.join(" ")})`;
  const colours = LEVELS.map((k) => `light-dark(${css(PALETTES.light[k])},${css(PALETTES.dark[k])})`);
  const rules = colours.map((colour, k) => `.k${k}{background-color:${colour}}`);
  rules.push(`.key i{background-image:linear-gradient(90deg,${colours.join(",")})}`);
  document.head.append(made("style", { text: rules.join("\n") }));
}

const levelOf = (value, { centre, reach }) => {
  if (!Number.isFinite(value)) return -1;
  const share = reach > 0 ? (value - centre) / reach : 0;
  return Math.round(HALF * (1 + Math.max(-1, Math.min(1, share))));
};

// Where the colours end: gates go from closed to open, anything else as far from zero as it gets.
function scaleOf(layer, place) {
  const moments = momentsOf(layer);
  layer.range ??= [Math.min(...moments.map((one) => one.least)), Math.max(...moments.map((one) => one.greatest))];
  const [least, greatest] = layer.range;
  const [low, high] = [-ROUNDING, 1 + ROUNDING];
  if (least >= low && greatest <= high && greatest > 0.1) return { centre: 0.5, reach: 0.5 };
  const ends = state.shared ? layer.range : [moments[place].least, moments[place].greatest];
  return { centre: 0, reach: Math.max(...ends.map(Math.abs)) };
}
