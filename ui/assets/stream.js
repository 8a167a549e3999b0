// The two ways between the panel and the app's hub: frames come by server-sent events, commands go by POST.

/**
 * Listen to the stream. `onMessage(message, first)` gets each frame, `first` being true for the first of a connection;
 * `onLink("open" | "lost")` tells how the connection is. EventSource connects again by itself. Returns the way to stop.
 */
export function listen(address, onMessage, onLink) {
  let source = null;
  let first = true;
  const open = () => {
    source = new EventSource(address);
    source.onopen = () => {
      first = true;
      onLink("open");
    };
    source.onerror = () => {
      onLink("lost");
      // A refusal (another status than 200) ends an EventSource for good; a server that starts anew may answer so.
      if (source.readyState === EventSource.CLOSED) again = setTimeout(open, RETRY_MS);
    };
    source.addEventListener("frame", (event) => {
      onMessage(JSON.parse(event.data), first);
      first = false;
    });
  };
  let again = 0;
  open();
  return () => {
    clearTimeout(again);
    source.close();
  };
}

const RETRY_MS = 2_000;

/** Send a command. Returns {session} or {error: words}; it never throws. */
export async function send(address, command) {
  try {
    const body = JSON.stringify(command);
    const answer = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const said = await answer.json();
    if (answer.ok) return { session: said.session };
    return { error: said.error || `The app refused this (status ${answer.status}).` };
  } catch {
    return { error: "The app does not answer. Is it still running? Your command was not carried out." };
  }
}
