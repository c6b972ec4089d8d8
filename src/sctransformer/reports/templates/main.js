// The address after # names what is shown, so that the browser's back button works.
function follow() {
  const wanted = location.hash.match(/^#regulator=(.*)$/);
  if (!wanted) return;
  const found = regulators.names.findIndex((name) => encodeURIComponent(name) === wanted[1]);
  if (found < 0) return;
  showRegulator(found);
  document.getElementById("regulator").scrollIntoView();
}

if (cells) {
  listenToMap();
  startMap();
  document.getElementById("find").addEventListener("change", (event) => findCell(event.target.value.trim()));
}
if (regulators) {
  const choice = document.getElementById("regulator-choice");
  choice.addEventListener("change", () => showRegulator(Number(choice.value)));
  showRegulator(Number(choice.value));
  window.addEventListener("hashchange", follow);
  follow();
}
