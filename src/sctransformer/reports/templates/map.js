// The map of cells: a canvas on which all cells are drawn again after each change.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#b8a800", "#882255", "#44aa99",
  "#117733", "#aa4499", "#ddaa77", "#661100", "#6699cc", "#999933"];
const UNKNOWN = "#b4b4b4", FADED = "#e4e4e4";
const canvas = document.getElementById("cells"), tip = document.getElementById("tip"), legend = document.getElementById("legend");
const map = { x: null, y: null, scale: 1, left: 0, top: 0, colour: null, highlight: null, selected: null };

function startMap() {
  const n = cells.names.length;
  map.x = new Float32Array(n);
  map.y = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    map.x[i] = value(cells.x, i);
    map.y[i] = -value(cells.y, i);
  }
  const names = [...new Set(cells.groupings.flatMap((one) => one.names))].filter((name) => name !== "unknown");
  map.colours = new Map(names.map((name, index) => [name, PALETTE[index % PALETTE.length]]));
  map.colours.set("unknown", UNKNOWN);
  new ResizeObserver(() => (fit(), draw())).observe(canvas);
  fit();
  colourBy(document.getElementById("colour").value);
}

function fit() {
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const [x0, x1, y0, y1] = [cells.x.low, cells.x.high, -cells.y.high, -cells.y.low];
  map.scale = Math.min((width - 60) / Math.max(x1 - x0, 1e-6), (height - 60) / Math.max(y1 - y0, 1e-6));
  map.start = map.scale;
  map.left = width / 2 - ((x0 + x1) / 2) * map.scale;
  map.top = height / 2 - ((y0 + y1) / 2) * map.scale;
}

// What cells are coloured by: "group:0", "value:1" or "regulator:2".
function colourBy(key) {
  const [kind, number] = key.split(":"), n = cells.names.length;
  map.highlight = null;
  map.colour = { key, kind, index: new Uint16Array(n) };
  const own = map.colour;
  if (kind === "group") {
    own.grouping = cells.groupings[number];
    own.index = codes(own.grouping.codes);
    own.missing = MISSING[own.grouping.codes.size];
    own.colours = own.grouping.names.map((name) => map.colours.get(name));
  } else {
    const packed = kind === "value" ? cells.values[number] : regulators.activity[number];
    const diverging = kind === "regulator", read = codes(packed), missing = MISSING[packed.size];
    const span = diverging ? 3 : 1;  // activities beyond 3 standard deviations have the strongest colour
    own.packed = packed;
    own.diverging = diverging;
    own.colours = diverging ? data.colours.diverging : data.colours.sequential;
    own.missing = 256;
    for (let i = 0; i < n; i++) {
      const share = read[i] / (missing - 1);
      const place = diverging ? (packed.low + share * (packed.high - packed.low) + span) / (2 * span) : share;
      own.index[i] = read[i] === missing ? 256 : Math.round(255 * Math.min(1, Math.max(0, place)));
    }
  }
  own.order = drawingOrder(own);
  showLegend();
  draw();
}

// Cells by colour: large groups, low values and small activities first, so that the others stay visible.
function drawingOrder({ index, missing, colours, kind }) {
  const count = new Uint32Array(Math.max(missing, colours.length) + 1);
  for (const one of index) count[one]++;
  const buckets = colours.map((_, one) => one);
  if (kind === "group") buckets.sort((a, b) => count[b] - count[a]);
  if (kind === "regulator") buckets.sort((a, b) => Math.abs(a - 127.5) - Math.abs(b - 127.5));
  const place = new Uint32Array(count.length);
  let next = count[missing];
  for (const bucket of buckets) {
    place[bucket] = next;
    next += count[bucket];
  }
  place[missing] = 0;
  const order = new Uint32Array(index.length);
  for (let i = 0; i < index.length; i++) order[place[index[i]]++] = i;
  map.count = count;
  return order;
}

const screenX = (i) => map.x[i] * map.scale + map.left;
const screenY = (i) => map.y[i] * map.scale + map.top;

function radius() {
  const n = cells.names.length, size = n < 500 ? 4.5 : n < 3000 ? 3.2 : n < 12000 ? 2.2 : 1.4;
  return Math.min(7, size * Math.max(1, Math.sqrt(map.scale / map.start)));
}

function draw() {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d"), size = radius(), round = cells.names.length < 12000;
  if (round) {
    context.scale(ratio, ratio);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    eachCell((i, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(screenX(i), screenY(i), size, 0, 6.284);
      context.fill();
    });
  } else {
    drawSquares(context, Math.max(1, Math.round(2 * size * ratio)), ratio);
    context.scale(ratio, ratio);
  }
  if (map.colour.kind === "group") drawNames(context);
  if (map.selected !== null) ring(context, screenX(map.selected), screenY(map.selected), size + 5);
  if (document.activeElement === canvas) ring(context, width / 2, height / 2, 14);
}

// All cells in the order in which they are drawn, with their colours; those that are not highlighted come first.
function eachCell(visit) {
  const { index, order, colours } = map.colour;
  for (const pass of map.highlight === null ? [null] : [false, true]) {
    for (const i of order) {
      if (pass !== null && (index[i] === map.highlight) !== pass) continue;
      visit(i, pass === false ? FADED : (colours[index[i]] ?? FADED));
    }
  }
}

// Many cells as squares, written as pixels: several times faster than shapes.
function drawSquares(context, side, ratio) {
  const { width, height } = canvas, image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const known = new Map();
  pixels.fill(0xffffffff);
  eachCell((i, colour) => {
    let ink = known.get(colour);
    if (ink === undefined) {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      known.set(colour, (ink = (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0));
    }
    const left = Math.round(screenX(i) * ratio - side / 2), top = Math.round(screenY(i) * ratio - side / 2);
    if (left < 0 || top < 0 || left + side > width || top + side > height) return;
    for (let y = top; y < top + side; y++) pixels.fill(ink, y * width + left, y * width + left + side);
  });
  context.putImageData(image, 0, 0);
}

function ring(context, x, y, size) {
  for (const [line, colour] of [[5, "#fff"], [2.5, "#000"]]) {
    context.lineWidth = line;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(x, y, size, 0, 6.284);
    context.stroke();
  }
}

// The name of each group in the middle of its cells, the largest groups first, as far as names do not overlap.
function drawNames(context) {
  const { grouping, index } = map.colour, found = grouping.names.map(() => [[], []]);
  for (let i = 0; i < index.length; i++) {
    if (index[i] === map.colour.missing) continue;
    found[index[i]][0].push(map.x[i]);
    found[index[i]][1].push(map.y[i]);
  }
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1], boxes = [];
  context.font = "600 13px system-ui, sans-serif";
  context.textAlign = "center";
  const order = grouping.names.map((_, group) => group).sort((a, b) => found[b][0].length - found[a][0].length);
  for (const group of order.slice(0, 40)) {
    if (!found[group][0].length || grouping.names[group] === "unknown") continue;
    const name = short(grouping.names[group], 28), half = context.measureText(name).width / 2 + 3;
    const x = middle(found[group][0]) * map.scale + map.left, y = middle(found[group][1]) * map.scale + map.top;
    if (boxes.some(([a, b, other]) => Math.abs(a - x) < half + other && Math.abs(b - y) < 17)) continue;
    boxes.push([x, y, half]);
    context.lineWidth = 4;
    context.strokeStyle = "rgba(255,255,255,.85)";
    context.strokeText(name, x, y);
    context.fillStyle = "#111";
    context.fillText(name, x, y);
  }
}

function showLegend() {
  const own = map.colour;
  legend.replaceChildren();
  if (own.kind === "group") {
    own.grouping.names.forEach((name, index) => {
      const swatch = element("span", { class: "swatch", style: `background:${own.colours[index]}` });
      const press = () => {
        map.highlight = map.highlight === index ? null : index;
        for (const [i, one] of [...legend.children].entries()) one.setAttribute("aria-pressed", i === map.highlight);
        draw();
      };
      const count = element("span", { class: "count" }, map.count[index].toLocaleString("en"));
      legend.append(element("button", { type: "button", "aria-pressed": "false", onclick: press }, swatch, name, count));
    });
    return;
  }
  const [low, high] = own.diverging ? [-3, 3] : [own.packed.low, own.packed.high];
  const stops = own.colours.filter((_, place) => place % 15 === 0).join(",");
  const scale = element("div", { class: "scale", style: `background:linear-gradient(to right,${stops})` });
  const limit = own.packed.limit;
  if (limit !== undefined && limit !== null && limit > low && limit < high) {
    scale.append(element("i", { style: `left:${(100 * (limit - low)) / (high - low)}%`, title: "threshold" }));
  }
  const show = (number) => (own.diverging ? signed(number, 0) : Number(number.toPrecision(3)).toLocaleString("en"));
  const ticks = own.diverging ? ["\u2264 " + show(-3), "0", "\u2265 " + show(3)] : [show(low), show((low + high) / 2), show(high)];
  legend.append(scale, element("div", { class: "ticks" }, ...ticks.map((one) => element("span", {}, one))));
  if (own.diverging) legend.append(element("div", {}, "activity, in standard deviations of the training cells"));
  if (limit !== undefined && limit !== null) {
    legend.append(element("div", {}, `threshold ${show(limit)}${limit >= low && limit <= high ? " (black line)" : ", outside this range"}`));
  }
  if (map.count[own.missing]) legend.append(element("div", {}, `${map.count[own.missing].toLocaleString("en")} cells without a value are grey`));
}

// The cell nearest to a point of the canvas, if one is near enough; else null.
function nearest(x, y, within) {
  let best = null, least = within * within;
  for (let i = 0; i < map.x.length; i++) {
    const dx = screenX(i) - x, dy = screenY(i) - y, distance = dx * dx + dy * dy;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}

function zoom(factor, x, y) {
  const scale = Math.min(Math.max(map.scale * factor, map.start / 2), map.start * 200), change = scale / map.scale;
  map.left = x - (x - map.left) * change;
  map.top = y - (y - map.top) * change;
  map.scale = scale;
  draw();
}

function listenToMap() {
  let held = null;
  const place = (event) => [event.clientX - canvas.getBoundingClientRect().left, event.clientY - canvas.getBoundingClientRect().top];
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;  // the page scrolls until the map is chosen
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...place(event));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => (held = { at: place(event), left: map.left, top: map.top, moved: false }));
  window.addEventListener("pointerup", (event) => {
    if (held && !held.moved && event.target === canvas) {
      const cell = nearest(...place(event), Math.max(8, radius() + 3));
      if (cell !== null) selectCell(cell);
    }
    held = null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (held) {
      const [dx, dy] = [x - held.at[0], y - held.at[1]];
      held.moved ||= dx * dx + dy * dy > 16;
      if (held.moved) {
        [map.left, map.top] = [held.left + dx, held.top + dy];
        draw();
      }
      return;
    }
    const cell = nearest(x, y, Math.max(8, radius() + 3));
    tip.classList.toggle("hidden", cell === null);
    if (cell === null) return;
    tip.textContent = `${short(cells.names[cell], 40)}: ${described(cell)}`;
    tip.style.left = `${Math.min(x + 14, canvas.clientWidth - 200)}px`;
    tip.style.top = `${y + 14}px`;
  });
  canvas.addEventListener("pointerleave", () => tip.classList.add("hidden"));
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);
  canvas.addEventListener("keydown", (event) => {
    const [x, y] = [canvas.clientWidth / 2, canvas.clientHeight / 2], step = 40;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) {
      map.left += moves[event.key][0];
      map.top += moves[event.key][1];
      draw();
    } else if (event.key === "+" || event.key === "=") zoom(1.3, x, y);
    else if (event.key === "-") zoom(1 / 1.3, x, y);
    else if (event.key === "0") (fit(), draw());
    else if (event.key === "Enter") {
      const cell = nearest(x, y, Infinity);
      if (cell !== null) selectCell(cell);
    } else return;
    event.preventDefault();
  });
  document.getElementById("colour").addEventListener("change", (event) => colourBy(event.target.value));
  document.getElementById("reset").addEventListener("click", () => (fit(), draw()));
  document.getElementById("closer").addEventListener("click", () => zoom(1.5, canvas.clientWidth / 2, canvas.clientHeight / 2));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.5, canvas.clientWidth / 2, canvas.clientHeight / 2));
}

// A cell in a few words: what it is coloured by.
function described(cell) {
  const { kind, packed, grouping } = map.colour;
  const label = category(cells.groupings[0], cell) ?? "no label";
  if (kind === "group") return grouping === cells.groupings[0] ? label : `${category(grouping, cell) ?? "none"}; label ${label}`;
  const found = value(packed, cell);
  const text = found === null ? "no value" : kind === "regulator" ? signed(found) : Number(found.toPrecision(3)).toString();
  return `${text}; label ${label}`;
}
