// A regulator: its evidence, its targets, its activity by cell type.
const FIRST_TARGETS = 20, LINKED = 14;
const regulatorLink = (r) => "#regulator=" + encodeURIComponent(regulators.names[r]);

function showRegulator(r) {
  const place = document.getElementById("regulator-shown");
  document.getElementById("regulator-choice").value = String(r);
  const edges = regulators.edges?.[r] ?? null;
  const halves = [];
  if (edges) halves.push(element("div", {}, ...network(r, edges)));
  halves.push(element("div", {}, ...byType(r)));
  place.replaceChildren(
    element("h3", {}, regulators.names[r]),
    element("p", {}, verdict(r)),
    facts(r, edges),
    element("div", { class: "halves" }, ...halves),
    ...(edges ? [targetTable(r, edges)] : []),
  );
}

function verdict(r) {
  if (!regulators.evidence) return element("span", {}, "Evidence against rewired networks was not measured.");
  const evidence = regulators.evidence[r];
  if (evidence === null) return element("span", { class: "weak" }, "Evidence against rewired networks was not measured.");
  const text = `Evidence: its targets vary together more than in ${percent(evidence)} of the networks that were rewired at random`;
  return element("span", {}, text, beats(r) ? "." : element("span", { class: "weak" }, `, too few: ${percent(data.beats)} are needed`));
}

function facts(r, edges) {
  const found = [];
  const add = (title, text) => found.push(element("div", {}, element("dt", {}, title), element("dd", {}, text)));
  if (regulators.targets) add("targets that are read", String(regulators.targets[r]));
  if (edges) {
    const signs = (sign) => edges.rows.filter((edge) => edge[1] === sign).length;
    add("activated, repressed, unknown", `${signs(1)}, ${signs(-1)}, ${signs(0)}`);
    add("sources", [...new Set(edges.rows.map((edge) => regulators.sources[edge[3]]))].filter(Boolean).join(", ") || "not recorded");
  }
  if (regulators.departure?.[r] != null) add("root mean square change of a weight in training", regulators.departure[r].toPrecision(2));
  if (regulators.agreement?.[r] != null) add("correlation with the signed mean of the targets", regulators.agreement[r].toFixed(3));
  const button = element("button", { type: "button", onclick: () => colourMap(r) }, "colour the map by it");
  return element("div", {}, element("dl", { class: "facts" }, ...found), regulators.activity?.[r] ? button : null);
}

function colourMap(r) {
  const choice = document.getElementById("colour");
  choice.value = "regulator:" + r;
  colourBy(choice.value);
  document.getElementById("map").scrollIntoView();
}

// The strongest targets around the regulator; width is the weight, the end of a line is its sign.
function network(r, edges) {
  const shown = edges.rows.slice(0, LINKED), width = 560, height = 380, [x0, y0] = [width / 2, height / 2];
  const strength = shown.map((edge) => Math.abs(edge[5] * edge[6])), most = Math.max(...strength, 1e-9);
  const parts = [];
  shown.forEach((edge, index) => {
    const angle = (2 * Math.PI * index) / shown.length - Math.PI / 2, reach = [205, 148];
    const [x, y] = [x0 + reach[0] * Math.cos(angle), y0 + reach[1] * Math.sin(angle)];
    const colour = edge[5] < 0 ? data.colours.low : data.colours.high, line = 1 + (5 * strength[index]) / most;
    const [fx, fy] = [x - x0, y - y0].map((one) => one / Math.hypot(x - x0, y - y0));
    const [sx, sy, ex, ey] = [x0 + 42 * fx, y0 + 24 * fy, x - 36 * fx, y - 16 * fy];
    parts.push(element("line", { x1: sx, y1: sy, x2: ex, y2: ey, stroke: colour, "stroke-width": line, "stroke-dasharray": edge[1] === 0 ? "5 3" : null }));
    const head = edge[5] < 0 ? `M${ex - 7 * fy} ${ey + 7 * fx}L${ex + 7 * fy} ${ey - 7 * fx}` : `M${ex - 9 * fx - 5 * fy} ${ey - 9 * fy + 5 * fx}L${ex} ${ey}L${ex - 9 * fx + 5 * fy} ${ey - 9 * fy - 5 * fx}`;
    parts.push(element("path", { d: head, stroke: colour, fill: "none", "stroke-width": 2.5 }));
    const name = element("text", { x, y: y + 4, "text-anchor": "middle" }, short(edge[0], 14));
    name.append(element("title", {}, `${edge[0]}: weight ${signed(edge[5])}, ${percent(edge[6])} of the attention`));
    parts.push(name);
  });
  parts.push(element("text", { x: x0, y: y0 + 5, "text-anchor": "middle", "font-weight": 700, "font-size": 15 }, short(regulators.names[r], 12)));
  const title = element("h3", {}, shown.length < edges.total ? `The ${shown.length} strongest of ${edges.total} targets` : `All ${edges.total} targets`);
  const words = "Red arrows: raises the activity when expressed. Blue bars: lowers it. Dashed: the network states no sign. Width: weight times attention.";
  return [title, element("svg", { viewBox: `0 0 ${width} ${height}`, style: `max-width:${width}px`, role: "img", "aria-label": `targets of ${regulators.names[r]}` }, ...parts), element("p", { class: "how" }, words)];
}

// Activity of the shown cells by label: whiskers 5 to 95 %, boxes 25 to 75 %; or the mean of each type.
function byType(r) {
  const packed = cells && regulators.activity ? regulators.activity[r] : null;
  const groups = packed ? boxes(packed) : regulators.types.map((name, c) => ({ name, mean: regulators.means[c][r] }));
  const known = groups.filter((one) => one.at || one.mean != null);
  if (!known.length) return [element("p", {}, "Its activity was not measured in these cells.")];
  const ends = known.flatMap((one) => (one.at ? [one.at[0], one.at[4]] : [one.mean])).concat([0]);
  const [low, high] = [Math.min(...ends) - 0.2, Math.max(...ends) + 0.2], left = 290, width = 640, row = 22;
  const place = (one) => left + ((one - low) / (high - low)) * (width - left - 20), parts = [];
  parts.push(element("line", { x1: place(0), y1: 0, x2: place(0), y2: known.length * row, stroke: "#888", "stroke-dasharray": "3 3" }));
  known.forEach((one, index) => {
    const y = index * row + row / 2, name = short(one.name, 30) + (one.count ? ` (${one.count.toLocaleString("en")})` : "");
    parts.push(element("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, name, element("title", {}, one.name)));
    if (!one.at) {
      parts.push(element("line", { x1: place(0), y1: y, x2: place(one.mean), y2: y, stroke: "#1f6fb2", "stroke-width": 8 }));
      return;
    }
    const [a, b, c, d, e] = one.at.map(place);
    parts.push(element("line", { x1: a, y1: y, x2: e, y2: y, stroke: "#555" }));
    parts.push(element("rect", { x: b, y: y - 7, width: Math.max(d - b, 1), height: 14, fill: "#9cc3e4", stroke: "#1f6fb2" }));
    parts.push(element("line", { x1: c, y1: y - 7, x2: c, y2: y + 7, stroke: "#000", "stroke-width": 2 }));
  });
  const bottom = known.length * row;
  for (const one of ticks(low, high)) parts.push(element("text", { x: place(one), y: bottom + 14, "text-anchor": "middle" }, one ? signed(one, one % 1 ? 1 : 0) : "0"));
  const words = packed ? "Line: 5 to 95 % of the shown cells of a label; box: the middle half; black: median." : `Mean in ${regulators.cells}.`;
  return [element("h3", {}, "Activity by cell type, in standard deviations of the training cells"),
    element("svg", { viewBox: `0 0 ${width} ${bottom + 20}`, style: `max-width:${width}px`, role: "img", "aria-label": "activity by cell type" }, ...parts),
    element("p", { class: "how" }, words)];
}

function ticks(low, high) {
  const step = high - low > 8 ? 2 : high - low > 3 ? 1 : 0.5, found = [];
  for (let one = Math.ceil(low / step) * step; one <= high; one += step) found.push(one);
  return found;
}

// Quantiles of the activity of each label, from the number of cells per code.
function boxes(packed) {
  const labels = cells.groupings[0], label = codes(labels.codes), read = codes(packed), missing = MISSING[packed.size];
  const counts = labels.names.map(() => new Uint32Array(missing + 1));
  for (let i = 0; i < read.length; i++) counts[label[i]]?.[read[i]] !== undefined && counts[label[i]][read[i]]++;
  return labels.names.map((name, index) => {
    const count = counts[index].slice(0, missing).reduce((sum, one) => sum + one, 0);
    if (!count) return { name };
    const at = [0.05, 0.25, 0.5, 0.75, 0.95].map((share) => {
      let passed = 0, code = 0;
      while (code < missing - 1 && (passed += counts[index][code]) <= share * (count - 1)) code++;
      return packed.low + (code / (missing - 1)) * (packed.high - packed.low);
    });
    return { name, count, at };
  });
}

function targetTable(r, edges) {
  const most = Math.max(...edges.rows.map((edge) => Math.abs(edge[5])), 1e-9), heads = ["target", "sign", "confidence", "weight in the network", "weight after training", "", "attention", "sources"];
  const body = element("tbody", {});
  const fill = (count) => body.replaceChildren(...edges.rows.slice(0, count).map((edge) => {
    const [target, sign, confidence, source, before, after, attention] = edge, width = (50 * Math.abs(after)) / most;
    const bar = element("span", { class: "bar", style: `width:${width}px;background:${after < 0 ? data.colours.low : data.colours.high};margin-left:${after < 0 ? 50 - width : 50}px` });
    const cell = (text, kind) => element("td", kind ? { class: kind } : {}, text);
    return element("tr", {}, cell(target), cell(sign > 0 ? "+ activates" : sign < 0 ? "\u2212 represses" : "? unknown"), cell(confidence === null ? "" : String(confidence), "n"),
      cell(signed(before, 3), "n"), cell(signed(after, 3), "n"), element("td", {}, bar), cell(percent(attention, 1), "n"), cell(regulators.sources[source] ?? ""));
  }));
  fill(FIRST_TARGETS);
  const more = element("button", { type: "button", class: "more", onclick: () => (fill(edges.rows.length), more.remove()) }, `show all ${edges.rows.length}`);
  const rest = edges.rows.length < edges.total ? element("p", { class: "how" }, `The page holds the ${edges.rows.length} strongest of ${edges.total} targets.`) : null;
  const numbers = [2, 3, 4, 6];
  return element("div", { class: "wide" }, element("h3", {}, "Targets, the strongest first"),
    element("table", { id: "targets" }, element("thead", {}, element("tr", {}, ...heads.map((one, index) => element("th", numbers.includes(index) ? { class: "n" } : {}, one)))), body),
    edges.rows.length > FIRST_TARGETS ? more : null, rest);
}
