// A `details.dialog` opens as a real dialog: over the page, closed by Escape, with the focus kept inside.

function show(opening) {
  const details = opening.parentElement;
  let { dialog } = details;
  if (!dialog) {
    dialog = document.createElement("dialog");
    const box = details.querySelector(".dialog-box");
    const title = box.querySelector("h2");
    title.id = `${details.id}-title`;
    dialog.setAttribute("aria-labelledby", title.id);
    dialog.append(box);
    details.after(dialog);
    dialog.addEventListener("close", () => opening.focus());
    dialog.addEventListener("click", (inside) => {
      if (inside.target === dialog) dialog.close(); // the backdrop
    });
    details.dialog = dialog;
    details.open = false;
  }
  dialog.showModal();
}

document.addEventListener("click", (event) => {
  const closing = event.target.closest("[data-close]");
  if (closing) closing.closest("dialog")?.close();
  const opening = event.target.closest("[data-dialog]");
  if (!opening) return;
  event.preventDefault();
  show(opening);
});

// What came open, with something in it that was refused.
const refused = document.querySelector("details.dialog[open] > [data-dialog]");
if (refused) {
  show(refused);
  refused.parentElement.dialog.querySelector("[aria-invalid]")?.focus();
}
