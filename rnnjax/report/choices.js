// What the reader has chosen, which the address keeps and brings back.

const runs = [];
const state = { views: [], active: 0, sort: "effect", find: "", whole: false, shared: false, anchor: null };
const active = () => state.views[state.active];
const runOf = (view) => runs[view.run];
const layerOf = (view) => runOf(view).layers.get(view.field);
const placeOf = (view) => layerOf(view).place.get(view.unit);
const notesOf = (run, field, unit) => run.notes.get(`${field} ${unit}`) ?? [];
const lesionOf = (run, field, place) => run.lesions[field]?.[place] ?? null;
const unitTitle = (run, field, unit) => {
  const [note] = notesOf(run, field, unit);
  return note ? `unit ${unit} — ${note.concept}` : `unit ${unit}`;
};
const sameText = (one, other) => runOf(one).text === runOf(other).text;

const SORTS = {
  effect: { title: "effect", value: ({ note }) => -(note?.effect ?? -1) },
  lesion: { title: "lesion effect", value: ({ lesion }) => -(lesion ?? -Infinity) },
  variance: { title: "variance", value: ({ deviation }) => -deviation },
  number: { title: "number", value: ({ unit }) => unit },
  name: { title: "name", value: ({ note }) => note?.concept ?? "\uffff" },
};

// Units of a field as the picker lists them: sorted, and only those that hold every word that is looked for.
function listed(view) {
  const run = runOf(view);
  const layer = layerOf(view);
  const key = [view.run, view.field, state.sort, state.find].join("\0");
  if (listed.key === key) return listed.entries;
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  const { value } = SORTS[state.sort];
  const entries = layer.units.map((unit, place) => {
    const notes = notesOf(run, view.field, unit);
    const inFilm = run.film?.field === view.field && run.film.place.has(unit);
    const text = `${notes.map((note) => note.concept).join(" ").toLowerCase()} ${inFilm ? "film" : ""}`;
    const deviation = deviationOf(layer, place);
    return { unit, place, note: notes[0], inFilm, text, deviation, lesion: lesionOf(run, view.field, place) };
  });
  const shown = entries.filter(({ unit, text }) =>
    words.every((word) => String(unit).startsWith(word) || text.includes(word)));
  const order = (one, other) => {
    const [first, second] = [value(one), value(other)];
    return first < second ? -1 : first > second ? 1 : one.unit - other.unit;
  };
  Object.assign(listed, { key, entries: shown.sort(order) });
  return listed.entries;
}

// The unit of the first field that was named with most effect; where none was, the one that varies most.
function startingView(number) {
  const run = runs[number];
  if (!run.start) {
    const [field, layer] = [...run.layers][0];
    const effect = (unit) => notesOf(run, field, unit)[0]?.effect ?? -1;
    const deviation = (unit) => deviationOf(layer, layer.place.get(unit));
    const [unit] = [...layer.units].sort((one, other) =>
      effect(other) - effect(one) || deviation(other) - deviation(one));
    run.start = { run: number, field, unit, step: 0, stretch: null, film: null };
  }
  return run.start;
}

// What a view that was asked for comes to where the run has no such field, unit, step or checkpoint.
function fitted(view) {
  const run = runs[view.run] ?? runs[0];
  const base = startingView(run.number);
  const field = run.layers.has(view.field) ? view.field : base.field;
  const { units, place } = run.layers.get(field);
  const within = (step) => Math.max(0, Math.min(run.steps - 1, Math.trunc(step) || 0));
  const unit = place.has(view.unit) ? view.unit : field === base.field ? base.unit : units[0];
  const stretch = view.stretch ? view.stretch.map(within).sort((one, other) => one - other) : null;
  const taken = run.film && Number.isInteger(view.film) && view.film >= 0 && view.film < run.film.taken;
  return { run: run.number, field, unit, step: within(view.step), stretch, film: taken ? view.film : null };
}

// Changes what the active view shows; two views of one text share its cursor and its stretch.
function choose(changes) {
  state.views[state.active] = fitted({ ...active(), ...changes });
  const { step, stretch } = active();
  state.views.forEach((view, place) => {
    if (place !== state.active && sameText(view, active())) state.views[place] = { ...view, step, stretch };
  });
  changed();
}

const filmOf = (view) => {
  const { film } = runOf(view);
  return film && film.field === view.field && film.place.has(view.unit) ? film : null;
};

// The course that a view is coloured by: its values, and where its colours end.
function courseOf(view) {
  const layer = layerOf(view);
  const film = filmOf(view);
  if (film && view.film !== null) return filmedCourse(film, view, runOf(view).steps);
  const place = placeOf(view);
  const values = Array.from({ length: layer.length }, (_, step) => layer.value(place, step));
  return { values, scale: scaleOf(layer, place) };
}

// What the film lacks is missing.
function filmedCourse(film, view, steps) {
  const place = film.place.get(view.unit);
  const values = new Array(steps).fill(NaN);
  film.steps.forEach((step, at) => { values[step] = film.value(place, view.film * film.seen + at); });
  return { values, scale: scaleOf(film, place) };
}

// ---- the address

const pack = ({ run, field, unit, step, film }) => [run, unit, step, film ?? "", field].join("~");
function unpack(text) {
  const [run, unit, step, film, ...field] = text.split("~");
  return { run: +run, unit: +unit, step: +step, stretch: null, film: film ? +film : null, field: field.join("~") };
}

function keepAddress() {
  const { run, field, unit, step, stretch, film } = active();
  remember({
    section: "explore",
    run: run || "",
    field,
    unit,
    step,
    stretch: stretch ? stretch.join("-") : "",
    checkpoint: film ?? "",
    sort: state.sort,
    find: state.find,
    beside: state.views.length > 1 ? pack(state.views[1 - state.active]) : "",
    right: state.active ? 1 : "",
    whole: state.whole ? 1 : "",
    scale: state.shared ? "one" : "",
  });
}

function readAddress() {
  const asked = wanted();
  const number = (text) => (text ? +text : 0);
  state.sort = Object.hasOwn(SORTS, asked.sort ?? "") ? asked.sort : state.sort;
  state.find = asked.find ?? "";
  state.whole = asked.whole === "1";
  state.shared = asked.scale === "one";
  const stretch = asked.stretch ? asked.stretch.split("-", 2).map(Number) : null;
  const base = startingView(runs[number(asked.run)] ? number(asked.run) : 0);
  const film = asked.checkpoint ? +asked.checkpoint : null;
  const unit = asked.unit ? +asked.unit : base.unit;
  const view = fitted({ ...base, field: asked.field ?? base.field, unit, step: number(asked.step), stretch, film });
  state.views = [view];
  state.active = 0;
  const beside = asked.beside ? fitted(unpack(asked.beside)) : runs[1] && !asked.field ? startingView(1) : null;
  if (beside) state.views.push(sameText(view, beside) ? { ...beside, step: view.step, stretch } : beside);
  if (beside && asked.right === "1") {
    state.views.reverse();
    state.active = 1;
  }
}
