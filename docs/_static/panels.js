// Panels without a kernel: the pictures were drawn when the notebook was executed; the sliders choose among them.
for (const panel of document.querySelectorAll(".panel")) {
  const pictures = JSON.parse(panel.querySelector("script").textContent);
  const controls = [...panel.querySelectorAll("input")];
  const image = panel.querySelector("img");
  const show = () => {
    let number = 0;
    for (const control of controls) {
      const texts = JSON.parse(control.dataset.texts);
      number = number * texts.length + Number(control.value);
      control.nextElementSibling.textContent = texts[control.value];
      control.setAttribute("aria-valuetext", texts[control.value]);
    }
    image.src = "data:image/png;base64," + pictures[number].png;
    image.alt = pictures[number].alt;
  };
  controls.forEach((control) => control.addEventListener("input", show));
  show();
}
