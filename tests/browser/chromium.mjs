// A headless Chromium, driven over pipes by its DevTools protocol: no port, no package.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Opens a page from a file; `errors` collects what its scripts, its console and the browser complain about.
export async function open(program, url) {
  const profile = mkdtempSync(join(tmpdir(), "chromium-"));
  const flags = ["--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe", `--user-data-dir=${profile}`];
  // Its sandbox refuses to work for root.
  if (process.getuid() === 0) flags.push("--no-sandbox");
  const browser = spawn(program, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
  const [, , , input, output] = browser.stdio;
  const deadline = setTimeout(() => {
    browser.kill("SIGKILL");
    throw new Error("the browser took more than a minute");
  }, 60_000);

  const answers = new Map();
  const listeners = new Map();
  let session;
  let last = 0;
  let received = "";
  output.setEncoding("utf8");
  output.on("data", (text) => {
    const messages = (received + text).split("\0");
    received = messages.pop();
    for (const message of messages.map((each) => JSON.parse(each))) {
      if (message.id === undefined) listeners.get(message.method)?.(message.params);
      else if (message.error) answers.get(message.id).reject(new Error(JSON.stringify(message.error)));
      else answers.get(message.id).resolve(message.result);
    }
  });
  const send = (method, params = {}) =>
    new Promise((resolve, reject) => {
      last += 1;
      answers.set(last, { resolve, reject });
      input.write(`${JSON.stringify({ id: last, method, params, sessionId: session })}\0`);
    });

  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  ({ sessionId: session } = await send("Target.attachToTarget", { targetId, flatten: true }));
  const errors = [];
  listeners.set("Runtime.exceptionThrown", ({ exceptionDetails }) => errors.push(exceptionDetails.exception?.description ?? exceptionDetails.text));
  listeners.set("Runtime.consoleAPICalled", ({ args }) => errors.push(args.map((each) => each.value).join(" ")));
  listeners.set("Log.entryAdded", ({ entry }) => errors.push(entry.text));
  listeners.set("Page.javascriptDialogOpening", ({ message }) => errors.push(`a dialog opened: ${message}`));
  for (const domain of ["Page", "Runtime", "Log"]) await send(`${domain}.enable`);

  const resize = (width) =>
    send("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: width < 600 });
  await resize(1280);
  const loaded = new Promise((resolve) => listeners.set("Page.loadEventFired", resolve));
  await send("Page.navigate", { url });
  await loaded;

  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  };
  // At the top left corner of the element, where a folder of the map has its title.
  const click = async (selector) => {
    const at = await evaluate(`(() => {
      const found = document.querySelector(${JSON.stringify(selector)});
      found.scrollIntoView({ block: "center" });
      const { left, top, width, height } = found.getBoundingClientRect();
      return { x: left + Math.min(12, width / 2), y: top + Math.min(8, height / 2) };
    })()`);
    for (const type of ["mousePressed", "mouseReleased"]) {
      await send("Input.dispatchMouseEvent", { type, ...at, button: "left", clickCount: 1 });
    }
  };
  const press = async (key) => {
    const text = key === "Enter" ? "\r" : undefined;
    await send("Input.dispatchKeyEvent", { type: "keyDown", key, code: key, text, windowsVirtualKeyCode: { Enter: 13, Escape: 27 }[key] });
    await send("Input.dispatchKeyEvent", { type: "keyUp", key, code: key });
  };
  const close = async () => {
    const ended = new Promise((resolve) => browser.once("close", resolve));
    session = undefined;
    send("Browser.close").catch(() => {});
    await ended;
    clearTimeout(deadline);
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  };
  return { errors, evaluate, click, press, resize, close };
}
