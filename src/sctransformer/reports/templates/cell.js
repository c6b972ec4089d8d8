// The dossier of a cell.
const MOST_BARS = 8;

const threshold = (packed) => (packed.limit === null ? "" : `, threshold ${packed.limit.toFixed(3)}`);

function selectCell(cell) {
  map.selected = cell;
  draw();
  showCell(cell);
}

function showCell(cell) {
  const rows = [];
  const add = (title, ...shown) => rows.push(element("tr", {}, element("th", { scope: "row" }, title), element("td", {}, ...shown)));
  for (const grouping of cells.groupings) {
    const name = category(grouping, cell);
    if (name === null) continue;
    const score = cells.values.find((one) => one.of === grouping.key);
    const found = score ? value(score, cell) : null;
    add(grouping.title, name + (found === null ? "" : ` (confidence ${found.toFixed(3)}${threshold(score)})`));
  }
  for (const packed of cells.values) {
    if (packed.of) continue;
    const found = value(packed, cell);
    if (found === null) continue;
    add(packed.title, (packed.key === "library_size" ? Math.round(found).toLocaleString("en") : found.toFixed(3)) + threshold(packed));
  }
  if (cells.top) add("regulators that stand out", category(cells.top, cell) || "none");
  const place = document.getElementById("cell");
  place.replaceChildren(element("h3", {}, cells.names[cell]), element("table", {}, ...rows), ...activityBars(cell));
}

// The strongest activities of a cell among regulators that beat rewired networks.
function activityBars(cell) {
  if (!regulators?.activity) return [];
  const found = [];
  regulators.activity.forEach((packed, r) => {
    const one = packed && beats(r) ? value(packed, cell) : null;
    if (one !== null) found.push([r, one]);
  });
  found.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  if (!found.length) return [];
  const shown = found.slice(0, MOST_BARS), most = Math.max(3, Math.abs(shown[0][1]));
  const rows = shown.map(([r, one]) => {
    const width = (60 * Math.abs(one)) / most, colour = one < 0 ? data.colours.low : data.colours.high;
    const bar = element("span", { class: "bar", style: `width:${width}px;background:${colour};margin-left:${one < 0 ? 60 - width : 60}px` });
    const link = element("a", { href: regulatorLink(r) }, regulators.names[r]);
    return element("tr", {}, element("td", {}, link), element("td", { class: "n" }, signed(one)), element("td", {}, bar));
  });
  return [element("h3", {}, "Largest activities (standard deviations)"), element("table", {}, ...rows)];
}

function findCell(text) {
  const exact = cells.names.indexOf(text);
  const found = exact >= 0 ? exact : cells.names.findIndex((name) => name.startsWith(text));
  document.getElementById("find").setCustomValidity(found < 0 ? "no cell with this name is shown" : "");
  document.getElementById("find").reportValidity();
  if (found >= 0) selectCell(found);
}
