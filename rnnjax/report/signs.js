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
