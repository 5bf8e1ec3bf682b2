// Passkeys: the browser makes or uses one, and the form takes what it says to the server. Without them forms stay hidden.

const able = "PublicKeyCredential" in window && "parseRequestOptionsFromJSON" in PublicKeyCredential;

async function answer(form) {
  const sent = await fetch(form.dataset.options, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (sent.status === 403) return ""; // of a page from before another log-in: the server leads on from the form itself
  if (!sent.ok) throw new Error(form.dataset.failed);
  const options = await sent.json();
  if (options.refused) throw new Error(options.refused);
  const credential =
    form.dataset.passkey === "create"
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  return JSON.stringify(credential.toJSON());
}

function equip(form) {
  const button = form.querySelector("[data-passkey-button]");
  const said = form.querySelector("[role=alert]");
  form.hidden = false;
  if (button) button.hidden = false;
  form.addEventListener("submit", async (event) => {
    if (button && event.submitter !== button) return; // another button of the same form
    event.preventDefault();
    said.hidden = true;
    try {
      form.elements.credential.value = await answer(form);
    } catch (refusal) {
      // What the browser itself says is for programmers, in English.
      said.textContent = refusal instanceof DOMException ? form.dataset.failed : refusal.message;
      said.hidden = false;
      return;
    }
    if (button) form.action = button.formAction;
    form.submit();
  });
}

if (able) for (const form of document.querySelectorAll("form[data-passkey]")) equip(form);

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
