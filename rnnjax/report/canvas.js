// What is drawn rather than written, and on which paper. `isDark` is that of the page's first script.

const paper = { light: false }; // printing is on white, whatever the theme
const theme = () => (isDark() && !paper.light ? "dark" : "light");

// The colours of a canvas on a panel, as its style says.
function inksOf(canvas) {
  const style = getComputedStyle(canvas);
  return {
    text: style.color, rule: style.borderTopColor, tint: style.accentColor, font: style.fontFamily,
    paper: getComputedStyle(canvas.closest(".panel")).backgroundColor, rest: style.outlineColor,
  };
}

// The pen of a canvas that is so large on the page, in pixels of the page, with nothing drawn yet.
function fitCanvas(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  Object.assign(pen, { globalAlpha: 1, lineWidth: 1 }); // a canvas of the same size keeps what it was left with
  pen.clearRect(0, 0, width, height);
  return pen;
}
