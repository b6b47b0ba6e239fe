// The cards below: the state at a symbol, where it is like that elsewhere, and what switches in a stretch.

const gauge = (share, isDiverging) => {
  const part = Math.max(0, Math.min(1, Math.abs(share)));
  const inner = made("i", { class: share < 0 ? "low" : null });
  inner.style.width = `${(isDiverging ? 50 : 100) * part}%`;
  if (isDiverging) inner.style.left = share < 0 ? `${50 - 50 * part}%` : "50%";
  return made("span", { class: isDiverging ? "gauge both" : "gauge", "aria-hidden": "true" }, inner);
};

const amount = (number, title = null) => made("span", { class: "amount", text: short(number), title });
const lines = (entries) => made("ul", {}, ...entries.map((parts) => made("li", {}, ...parts)));
const title = (text, hint) => made("h3", { text }, ...(hint ? [made("small", { text: hint })] : []));

function unitButton(run, field, unit) {
  const [note] = notesOf(run, field, unit);
  const element = made("button", { type: "button", class: "plain" }, made("b", { text: unit }));
  if (note) element.append(" ", quoted(note.concept));
  return onCard(element, { unit, field });
}

// What a card's button does is seen in the text; the card itself is made anew, so the focus goes there too.
function onCard(element, changes) {
  return pressed(element, () => {
    choose(changes);
    const { box, text } = passages[state.active];
    box.scrollIntoView({ block: "nearest" });
    text.focus({ preventScroll: true });
  });
}

function showHere() {
  const view = active();
  const run = runOf(view);
  const symbol = run.symbols[view.step];
  const parts = [title("At this symbol", `step ${whole(view.step)} of ${whole(run.steps)}`)];
  const gap = run.spaced ? " " : "";
  const context = made("p", { class: "context" }, quoted(around(run, view.step - 16, view.step)), gap,
    made("mark", { text: readable(symbol, 200) || "∅" }), gap, quoted(around(run, view.step + 1, view.step + 13)));
  parts.push(context, ...nextSymbols(run, view.step), fieldsHere(view), ...strongest(view));
  $("here").replaceChildren(...parts);
  const value = layerOf(view).told(placeOf(view), view.step);
  const what = unitTitle(run, view.field, view.unit);
  $("spoken").textContent = `${what}; ${named(symbol)}, step ${view.step}: ${value}`;
}

function nextSymbols(run, step) {
  const loss = run.loss?.[step] ?? null;
  const row = run.predicted[step] ?? [];
  const pairs = [...Array(row.length / 2).keys()].map((k) => [run.names[row[2 * k]], row[2 * k + 1]]);
  if (!pairs.length && loss === null) return [];
  const right = run.answers[step] ?? (run.starts.includes(step + 1) ? null : run.symbols[step + 1]);
  const what = !pairs.length ? "Prediction" : run.answers.length ? "Likeliest answers" : "Likeliest next";
  const mark = run.answers.length ? " (right)" : " (came)";
  const heading = title(what, loss === null ? "" : `loss ${short(loss)} nats`);
  return [heading, lines(pairs.map(([name, chance]) => {
    const came = name === right;
    const text = made(came ? "b" : "span", {}, quoted(named(name)), came ? mark : "");
    return [text, gauge(chance ?? 0), made("span", { class: "amount", text: `${short(100 * (chance ?? NaN))} %` })];
  }))];
}

const prefix = (field) => field.slice(0, field.lastIndexOf(".") + 1);

// Every recorded field of the chosen unit.
function fieldsHere(view) {
  const { layers } = runOf(view);
  const rows = [...layers.values()]
    .filter((layer) => prefix(layer.field) === prefix(view.field) && layer.place.has(view.unit))
    .map((layer) => {
      const place = layer.place.get(view.unit);
      const value = layer.value(place, view.step);
      const level = levelOf(value, scaleOf(layer, place));
      const chip = made("span", { class: level < 0 ? "chip" : `chip k${level}`, text: layer.told(place, view.step) });
      const name = made("button", { type: "button", class: "plain" }, quoted(readable(layer.field, 40)));
      return made("div", {}, onCard(name, { field: layer.field }), chip);
    });
  return made("div", {}, title(`Fields of unit ${view.unit}`), made("div", { class: "fields" }, ...rows));
}

function strongest(view) {
  const run = runOf(view);
  const layer = layerOf(view);
  const standard = standardised(layer);
  const far = (place) => standard[place * layer.length + view.step];
  const places = layer.units.map((_, place) => place).sort((one, other) => Math.abs(far(other)) - Math.abs(far(one)));
  const most = Math.abs(far(places[0])) || 1;
  return [
    title("Strongest units", "deviations from their means"),
    lines(places.slice(0, LISTED).map((place) => [
      unitButton(run, view.field, layer.units[place]), gauge(far(place) / most, true),
      amount(far(place), `value ${layer.told(place, view.step)}`),
    ])),
  ];
}

// A place in the text as a button that jumps there.
function jump(run, from, to, changes) {
  const [before, most, after] = run.spaced ? [2, 6, 5] : [8, 24, 16]; // symbols; the line is cut at its end
  const gap = run.spaced ? " " : "";
  const element = made("button", { type: "button", class: "plain context" },
    quoted(around(run, from - before, from)), gap,
    made("mark", { text: around(run, from, Math.min(to, from + most)) || "∅" }), gap,
    quoted(to > from + most ? "…" : around(run, to, to + after)));
  return onCard(element, changes);
}

function showAlike() {
  const view = active();
  const run = runOf(view);
  const found = neighbours(layerOf(view), view.step);
  $("alike").replaceChildren(
    title("The state is like here at", `cosine over ${readable(view.field, 40)}`),
    lines(found.map(({ step, similarity }) => [
      jump(run, step, step + 1, { step, stretch: null }), amount(similarity),
    ])),
  );
}

function showStretch() {
  const view = active();
  const run = runOf(view);
  const { stretch } = view;
  if (!stretch) {
    const help = "Drag over the text, or hold shift with the arrows, to find the units that switch there and other " +
      "stretches like it.";
    $("stretch").replaceChildren(title("A stretch"), made("p", { class: "faint", text: help }));
    return;
  }
  const size = stretch[1] + 1 - stretch[0];
  const layer = layerOf(view);
  const found = switches(layer, stretch);
  const most = Math.abs(found[0].switch) || 1;
  const jumps = ({ inside, rise, fall }) =>
    `inside less outside ${short(inside)}, at its start ${short(rise)}, at its end ${short(fall)}`;
  $("stretch").replaceChildren(
    title("Units that switch in the stretch", `steps ${whole(stretch[0])} to ${whole(stretch[1])}`),
    lines(found.map((entry) => [
      unitButton(run, view.field, entry.unit), gauge(entry.switch / most, true),
      amount(entry.switch, jumps(entry)),
    ])),
    made("p", { class: "faint", text: "In deviations: mean of inside less outside and the jumps at both borders." }),
    title("Stretches like it"),
    lines(likeStretch(layer, stretch).map(({ step, similarity }) => [
      jump(run, step, step + size, { step, stretch: [step, step + size - 1] }),
      amount(similarity),
    ])),
    onCard(made("button", { type: "button", text: "Clear the stretch" }), { stretch: null }),
  );
}

function showCorrelation() {
  const [one, other] = state.views;
  const isPair = other && sameText(one, other);
  const found = isPair ? correlation(courseOf(one).values, courseOf(other).values) : NaN;
  $("correlation").textContent = isPair ? `correlation of both ${short(found)}` : "";
}
