// Forms that say what is wrong while somebody types: the server is asked, by the same rules as when the form is sent.

const PAUSE_MS = 350;

function say(field, text) {
  const box = field.closest(".field");
  if (!box) return;
  let error = box.querySelector(".error");
  box.classList.toggle("wrong", Boolean(text));
  if (!text) {
    field.removeAttribute("aria-invalid");
    error?.remove();
    const hint = box.querySelector(".hint");
    if (hint?.id) field.setAttribute("aria-describedby", hint.id);
    return;
  }
  if (!error) {
    error = document.createElement("p");
    error.className = "error";
    error.id = `e-${field.name}`;
    error.setAttribute("aria-live", "polite");
    box.append(error);
  }
  if (error.textContent !== text) error.textContent = text;
  field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", error.id);
}

export function check(form) {
  const touched = new Set();
  let timer = 0;
  let asked = 0;
  const ask = async () => {
    asked += 1;
    const number = asked;
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!answer.ok || number !== asked) return;
      const { errors, placeholders } = await answer.json();
      for (const name of touched) {
        const field = form.elements.namedItem(name);
        if (field instanceof HTMLElement) say(field, errors[name] ?? "");
      }
      for (const [name, text] of Object.entries(placeholders)) {
        const field = form.elements.namedItem(name);
        if (field instanceof HTMLInputElement && field.type !== "hidden") field.placeholder = text;
      }
    } catch {
      // Away: sending the form will tell.
    }
  };
  form.addEventListener("input", (event) => {
    if (!event.target.name) return;
    touched.add(event.target.name);
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE_MS);
  });
}
