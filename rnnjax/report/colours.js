// Colours: from purple (low) over the paper to orange (high), as in the figures, in both themes

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
