for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentNode, place = head.cellIndex, body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") !== "descending";
  const value = row => row.cells[place].dataset.v ?? row.cells[place].textContent;
  const compare = (a, b) => a.cells[place].dataset.v === undefined ? value(a).localeCompare(value(b)) : value(a) - value(b);
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...[...body.rows].sort((a, b) => down ? compare(b, a) : compare(a, b)));
});
