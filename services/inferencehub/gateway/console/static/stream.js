// Server-sent events by fetch: an EventSource cannot send the header with a key.

// Calls on(name, data) for each event, and goes on for ever: where a stream ends, it comes back a little later.
export async function follow(url, headers, on) {
  let pause = 1000;
  for (;;) {
    const came = await once(url, headers(), on);
    if (came !== false) pause = 1000;
    if (came === null) continue;
    await new Promise((done) => { setTimeout(done, pause); });
    pause = Math.min(2 * pause, 15000);
  }
}

// One stream; whether any event came, null if it was refused and there is another key now.
async function once(url, headers, on) {
  const ends = new AbortController();
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => ends.abort(), 10000); // a gateway that is gone without a word
  };
  let came = false;
  try {
    heard();
    const answer = await fetch(url, { headers, cache: "no-store", signal: ends.signal });
    if (!answer.ok) {
      on("refused", { status: answer.status, ...(await answer.json().catch(() => ({}))) });
      if (answer.status !== 401 && answer.status !== 403) return false;
      clearTimeout(silence);
      await another();
      came = null;
      return came;
    }
    for await (const [name, data] of events(answer.body)) {
      heard();
      came = true;
      on(name, JSON.parse(data));
    }
  } catch {
    // the same as an end
  } finally {
    clearTimeout(silence);
    if (came !== null) on("lost", {});
  }
  return came;
}

// With the key that is there it would be refused again: wait for another one.
let wake = () => {};
const another = () => new Promise((done) => { wake = done; });
export const tryAgain = () => wake();

// The events of a body, as names and data. See the HTML Standard, 9.2.6; ours have no carriage returns.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const of = (field) => lines.filter((line) => line.startsWith(`${field}: `)).map((line) => line.slice(field.length + 2));
      const data = of("data").join("\n");
      if (data) yield [of("event")[0] || "message", data];
    }
  }
}
