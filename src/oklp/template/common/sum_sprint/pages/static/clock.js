// Shows the time that is left, and sends the answers when it is up. The server's clock is the one that counts.
const clock = document.getElementById("clock");
const sums = document.getElementById("sums");
if (clock && sums) {
  const end = performance.now() + Number(clock.dataset.seconds) * 1000;
  const timer = setInterval(() => {
    const left = Math.ceil((end - performance.now()) / 1000);
    clock.value = String(Math.max(0, left));
    if (left <= 0) {
      clearInterval(timer);
      sums.submit();
    }
  }, 200);
}
