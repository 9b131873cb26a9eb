"use strict";
// The B-scan viewer of a report: one state, one `show`, and events that change the state.
// Its data lie in the page (#viewer-data); nothing is fetched. Lengths are in mm, thickness in µm.
const data = JSON.parse(document.getElementById("viewer-data").textContent);
const at = (id) => document.getElementById(id);
const one = (within, selector) => within.querySelector(selector);
const viewer = at("viewer"), panels = [at("model"), at("linear")];
const count = data.places.length, width = data.ascans * data.spacing[1], depth = data.rows * data.spacing[0];
const [first, last] = data.extent;
const state = { // overlay, map: which of data.overlays (-1: none) and data.thickness; hidden: names of layers
  bscan: count >> 1, ascan: data.ascans >> 1, layers: true, hidden: new Set(), compare: true,
  overlay: -1, opacity: 60, map: 0,
};

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const nearest = (values, wanted) => // the index of what lies nearest
  values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
const share = (mm) => { // of a map's height, from its top: as the SLO has it where there is one
  const down = (mm - first) / (last - first);
  return data.upwards ? 1 - down : down;
};
const added = (parent, tag, properties = {}) => {
  const child = document.createElementNS(parent.namespaceURI, tag);
  for (const [name, value] of Object.entries(properties)) child.setAttribute(name, value);
  return parent.appendChild(child);
};

function set(changes) {
  Object.assign(state, changes);
  state.bscan = clamp(state.bscan, 0, count - 1);
  state.ascan = clamp(state.ascan, 0, data.ascans - 1);
  show();
}

function step(by, onlyGiven) {
  let next = state.bscan + by;
  while (onlyGiven && next >= 0 && next < count && !data.given[next]) next += by;
  if (next >= 0 && next < count) set({ bscan: next });
}

// --- what is shown ---

function show() {
  const isGiven = data.given[state.bscan];
  viewer.classList.toggle("is-given", isGiven);
  viewer.classList.toggle("is-new", !isGiven);
  viewer.dataset.bscan = state.bscan;
  at("bscan").value = state.bscan;
  at("bscan").setAttribute("aria-valuetext", `${state.bscan + 1} of ${count}, ${isGiven ? "given" : "synthesised"}`);
  at("where").textContent = `B-scan ${state.bscan + 1} of ${count}, at ${data.places[state.bscan].toFixed(3)} mm`;
  at("status").textContent = isGiven ? "■ GIVEN: measured" : "◇ SYNTHESISED: not measured";
  [...at("strip").children].forEach((cell, i) => cell.classList.toggle("now", i === state.bscan));
  showPanel(panels[0], data.model, isGiven ? "The model's answer at a given B-scan" : "The model's answer",
    isGiven ? "MODEL, at a given B-scan" : "SYNTHESISED by the model", !isGiven);
  showPanel(panels[1], data.linear,
    isGiven ? "The given B-scan, as it was measured" : "Linear interpolation of the given B-scans",
    isGiven ? "GIVEN: measured" : "INTERPOLATED, not measured", !isGiven);
  panels[1].hidden = !state.compare;
  panels[0].parentElement.classList.toggle("alone", !state.compare);
  showOverlay();
  showCursor();
  if (data.slo) showLines();
  if (data.thickness.length) { showMap(); showNumbers(); showProfile(); }
  viewer.dispatchEvent(new Event("shown"));
}

function showPanel(panel, images, title, tag, isNew) {
  panel.classList.toggle("is-new", isNew);
  one(panel, "figcaption").textContent = title;
  one(panel, ".tag").textContent = tag;
  const image = one(panel, ".bscan");
  image.src = images[state.bscan];
  image.alt = `${title}, B-scan ${state.bscan + 1} of ${count}`;
  const outlines = one(panel, ".outlines");
  outlines.toggleAttribute("hidden", !state.layers);
  data.layers.forEach((layer, i) => {
    outlines.children[i].setAttribute("d", layer.paths[state.bscan]);
    outlines.children[i].toggleAttribute("hidden", state.hidden.has(layer.name));
  });
}

function showOverlay() {
  const overlay = data.overlays[state.overlay];
  const image = one(panels[0], ".colour"), legend = at("overlay-legend");
  image.hidden = legend.hidden = at("opacity-switch").hidden = !overlay;
  if (!overlay) return;
  image.src = overlay.images[state.bscan];
  image.alt = `${overlay.title} in colour`;
  image.style.opacity = state.opacity / 100;
  one(legend, ".low").textContent = overlay.low;
  one(legend, ".high").textContent = `${overlay.high} ${overlay.unit} and more`;
  one(legend, ".meaning").textContent = overlay.meaning;
}

const across = () => `${(100 * (state.ascan + 0.5)) / data.ascans}%`;

function showCursor() {
  at("ascan").value = state.ascan;
  const mm = ((state.ascan + 0.5) * data.spacing[1]).toFixed(2);
  at("at").textContent = `${mm} mm from the left, A-scan ${state.ascan + 1} of ${data.ascans}`;
  for (const line of viewer.querySelectorAll(".cursor")) line.style.left = across();
}

function lineOf(bscan) {
  const known = data.slo.lines[bscan].filter(([x, y]) => x !== null && y !== null);
  return "M" + known.map((point) => point.join(" ")).join("L");
}

function showLines() {
  one(at("slo"), ".now").setAttribute("d", lineOf(state.bscan));
  const [x, y] = data.slo.lines[state.bscan][nearest(data.slo.ascans, state.ascan)];
  const dot = one(at("slo"), ".dot");
  dot.style.left = `${(100 * x) / data.slo.size[0]}%`;
  dot.style.top = `${(100 * y) / data.slo.size[1]}%`;
}

function showMap() {
  const found = data.thickness[state.map], map = at("map");
  at("layer").value = state.map;
  one(map, "img").src = found.map;
  one(map, "img").alt = `Map of the thickness of ${found.name}, ${found.low} to ${found.high} µm`;
  one(map, ".low").textContent = found.low;
  one(map, ".high").textContent = `${found.high} µm`;
  const top = `${100 * share(data.places[state.bscan])}%`;
  one(map, ".line").style.top = one(map, ".dot").style.top = top;
  one(map, ".dot").style.left = across();
}

const written = (value, half) =>
  value === null ? "–" : value.toFixed(1) + (half === null ? "" : ` ± ${half.toFixed(1)}`);
const ofBscan = (found) => [found.value[state.bscan], found.half && found.half[state.bscan]];
const mean = (values) => {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
};

function showNumbers() {
  data.thickness.forEach((found, i) => {
    const row = one(at("numbers"), "tbody").children[i], [value, half] = ofBscan(found);
    row.classList.toggle("chosen", i === state.map);
    row.cells[1].textContent = written(value[state.ascan], half && half[state.ascan]);
    row.cells[2].textContent = written(mean(value), half && mean(half));
  });
}

function showProfile() {
  const found = data.thickness[state.map], [value, half] = ofBscan(found);
  const highest = 1.05 * Math.max(...found.value.flat().map((v) => v ?? 0)) || 1;
  const y = (um) => (100 * (1 - clamp(um / highest, 0, 1))).toFixed(2);
  const point = (x, um) => `${x + 0.5} ${y(um)}`;
  const known = value.map((v, x) => [x, v]).filter(([, v]) => v !== null);
  let before = -2;
  const curve = known.map(([x, v]) => {
    const move = x === before + 1 ? "L" : "M";
    before = x;
    return move + point(x, v);
  });
  one(at("profile"), ".curve").setAttribute("d", curve.join(""));
  const sure = half ? known.filter(([x]) => half[x] !== null) : [];
  const band = sure.map(([x, v]) => `M${x} ${y(v + half[x])}H${x + 1}V${y(v - half[x])}H${x}Z`);
  one(at("profile"), ".band").setAttribute("d", band.join(""));
  one(at("profile"), ".top").textContent = `${highest.toFixed(0)} µm`;
  one(at("profile"), "figcaption").textContent =
    `Thickness of ${found.name} along this B-scan${sure.length ? `, with its ${data.level} interval` : ""}`;
}

// --- what is made once ---

function ruler(stack, long, deep) { // bars of round lengths; deep: one along the depth, too
  const round = (most) => [5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01].find((mm) => mm <= most) || most;
  const mm = round(long / 4), bar = one(stack, ".across");
  bar.style.width = `${(100 * mm) / long}%`;
  bar.textContent = `${mm} mm`;
  if (!deep) return;
  const down = round(deep / 4), upright = one(stack, ".down");
  upright.style.height = `${(100 * down) / deep}%`;
  upright.textContent = `${1000 * down} µm`;
}

function makePanels() {
  const ratio = clamp(width / depth, 1, 1.6), stretch = width / depth / ratio;
  for (const panel of panels) {
    const stack = one(panel, ".stack"), outlines = one(panel, ".outlines");
    stack.style.aspectRatio = ratio;
    outlines.setAttribute("viewBox", `0 0 ${data.ascans} ${data.rows}`);
    for (const layer of data.layers) {
      added(outlines, "path", { stroke: layer.colour, "stroke-dasharray": layer.dash });
    }
    ruler(stack, width, depth);
    let rolled = 0;
    stack.addEventListener("wheel", (event) => {
      event.preventDefault();
      rolled += event.deltaY;
      if (Math.abs(rolled) >= 40) { step(Math.sign(rolled)); rolled = 0; }
    }, { passive: false });
    stack.addEventListener("click", (event) => set({ ascan: Math.floor(within(event, stack)[0] * data.ascans) }));
  }
  at("scale").textContent = `${width.toFixed(2)} mm across, ${(1000 * depth).toFixed(0)} µm deep`
    + (Math.abs(stretch - 1) > 0.02 ? `, depth stretched ${stretch.toFixed(1)} times` : "")
    + `. Black to white: ${data.window[0]} to ${data.window[1]} in the scan's own units, the same in both.`;
}

function makeSwitches() {
  at("bscan").max = count - 1;
  at("ascan").max = data.ascans - 1;
  data.given.forEach((isGiven, i) => {
    const title = `B-scan ${i + 1}: ${isGiven ? "given" : "synthesised"}`;
    const cell = added(at("strip"), "i", { class: isGiven ? "given" : "", title });
    cell.addEventListener("click", () => set({ bscan: i }));
  });
  at("layers-switch").hidden = !data.layers.length;
  at("overlays").hidden = !data.overlays.length;
  data.overlays.forEach((overlay, i) => {
    const label = added(at("overlays"), "label");
    added(label, "input", { type: "radio", name: "overlay", value: i });
    label.append(` ${overlay.title}`);
  });
  for (const ramp of viewer.querySelectorAll(".ramp")) {
    for (const colour of data.colours) added(ramp, "i").style.background = colour;
  }
}

function makeSlo() {
  const slo = at("slo"), [across, down] = data.slo.size, svg = one(slo, "svg");
  slo.hidden = false;
  one(slo, "img").src = data.slo.image;
  one(slo, ".stack").style.aspectRatio = across / down;
  svg.setAttribute("viewBox", `0 0 ${across} ${down}`);
  data.given.forEach((isGiven, i) => { if (isGiven) added(one(svg, ".given"), "path", { d: lineOf(i) }); });
  ruler(one(slo, ".stack"), across);
  one(slo, ".stack").addEventListener("click", (event) => {
    const [x, y] = within(event, one(slo, ".stack")), best = { far: Infinity };
    data.slo.lines.forEach((line, bscan) => line.forEach(([px, py], i) => {
      const far = Math.hypot(px - x * across, py - y * down);
      if (far < best.far) Object.assign(best, { far, bscan, ascan: data.slo.ascans[i] });
    }));
    set({ bscan: best.bscan, ascan: best.ascan });
  });
}

function makeMap() {
  const stack = one(at("map"), ".stack");
  at("map").hidden = count < 2;
  at("numbers").hidden = at("profile").hidden = false;
  stack.style.aspectRatio = clamp(width / (last - first), 0.7, 2.5);
  if (data.upwards) one(stack, "img").style.transform = "scaleY(-1)";
  ruler(stack, width);
  data.places.forEach((mm, i) => {
    if (data.given[i]) added(one(at("map"), ".ticks"), "i").style.top = `${100 * share(mm)}%`;
  });
  data.thickness.forEach((found, i) => {
    added(at("layer"), "option", { value: i }).textContent = found.name;
    makeRow(found);
  });
  one(at("numbers"), "caption").textContent = `Thickness${data.level && data.thickness.some((found) => found.half)
    ? `; ±: half of the ${data.level} interval of an A-scan` : ""}. A box switches a layer's outline.`;
  one(at("profile"), "svg").setAttribute("viewBox", `0 0 ${data.ascans} 100`);
  one(at("profile"), ".bottom").textContent = "0 µm";
  stack.addEventListener("click", (event) => {
    const [x, y] = within(event, stack), mm = first + (data.upwards ? 1 - y : y) * (last - first);
    set({ bscan: nearest(data.places, mm), ascan: Math.floor(x * data.ascans) });
  });
}

function makeRow(found) {
  const row = added(one(at("numbers"), "tbody"), "tr"), head = added(row, "th", { scope: "row" });
  const layer = data.layers.find((drawn) => drawn.name === found.name);
  if (layer) {
    const label = added(head, "label");
    const box = added(label, "input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      state.hidden[box.checked ? "delete" : "add"](found.name);
      show();
    });
    const line = '<svg viewBox="0 0 32 11" aria-hidden="true"><path d="M0 5.5H32" stroke-width="2"/></svg>';
    label.insertAdjacentHTML("beforeend", line);
    one(label, "path").setAttribute("stroke", layer.colour);
    one(label, "path").setAttribute("stroke-dasharray", layer.dash);
    label.append(found.name);
  } else head.textContent = found.name;
  added(row, "td"); added(row, "td");
}

// --- what changes it ---

function within(event, box) { // where a click lies, as shares of a box's width and height
  const found = box.getBoundingClientRect();
  const shares = [(event.clientX - found.left) / found.width, (event.clientY - found.top) / found.height];
  return shares.map((value) => clamp(value, 0, 0.999999));
}

function listen() {
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  for (const id of ["bscan", "ascan", "opacity"]) {
    at(id).addEventListener("input", () => set({ [id]: Number(at(id).value) }));
  }
  for (const id of ["layers", "compare"]) at(id).addEventListener("change", () => set({ [id]: at(id).checked }));
  at("layer").addEventListener("change", () => set({ map: Number(at("layer").value) }));
  at("overlays").addEventListener("change", (event) => set({ overlay: Number(event.target.value) }));
  document.addEventListener("keydown", pressed);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, canvas")) return;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
  const key = event.key.toLowerCase(), radios = document.getElementsByName("overlay");
  if (by) {
    const isPicture = event.target.closest(".stack"), isSlider = event.target.id === "bscan";
    if (event.target.closest("input") && !(isSlider && event.shiftKey)) return; // it moves itself
    if (!isPicture && !event.key.match(/Left|Right/)) return; // the page scrolls
    step(by, event.shiftKey);
  } else if (key === "l" && data.layers.length) at("layers").click();
  else if (key === "c") at("compare").click();
  else if (key === "u" && data.overlays.length) radios[(state.overlay + 2) % radios.length].click();
  else return;
  event.preventDefault();
}

makeSwitches();
makePanels();
if (data.slo) makeSlo();
if (data.thickness.length) makeMap();
listen();
show();
