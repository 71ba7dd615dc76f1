// Narrows the list of streams while somebody types. Without a script the form
// asks the appliance, which also looks at streams on other pages of the list.

const field = document.getElementById("find");
const said = document.getElementById("found");
const otherwise = said?.innerHTML;

function narrow() {
  const wanted = field.value.trim().toLowerCase();
  const rows = [...document.querySelectorAll("[data-find]")];
  for (const row of rows) row.hidden = !row.dataset.find.includes(wanted);
  const status = document.getElementById("found");
  if (!status) return;
  const left = rows.filter((row) => !row.hidden).length;
  if (left === rows.length) status.innerHTML = otherwise;
  else status.textContent = `${left.toLocaleString()} of ${rows.length.toLocaleString()} streams shown.`;
}

if (field) {
  field.addEventListener("input", narrow);
  // live.js exchanges the rows when a capture begins or ends.
  new MutationObserver(narrow).observe(document.getElementById("main"), { childList: true });
}
