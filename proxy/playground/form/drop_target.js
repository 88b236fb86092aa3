// The whole window as drop target: a file dropped beside a field must not replace the page.
import { announce, byId } from "../dom.js";

const CARRIED = ["Files", "text/uri-list"];

/** Listens for drops and pastes. *getForm()* returns the form that takes the files, or null. */
export function listenForFiles(getForm) {
  const overlay = byId("drop-overlay");
  const carries = (event) => CARRIED.some((type) => event.dataTransfer?.types.includes(type));
  const hide = () => (overlay.hidden = true);

  for (const kind of ["dragenter", "dragover"])
    document.addEventListener(kind, (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      overlay.hidden = !getForm()?.fileControl();
    });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && hide());
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    hide();
    dropTarget(getForm(), event)?.takeTransfer(event.dataTransfer);
  });
  document.addEventListener("paste", (event) => takePaste(getForm(), event));
}

function dropTarget(form, event) {
  const under = form?.controls.find((control) => control.takeTransfer && control.node.contains(event.target));
  return under ?? form?.fileControl(event.dataTransfer.files[0]?.type);
}

function takePaste(form, event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || !form) return;
  const control = form.fileControl(files[0].type);
  if (control) {
    event.preventDefault();
    control.takeFiles(files);
  } else announce("This form takes no such file");
}
