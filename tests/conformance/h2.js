// The suite over HTTP/2. Replaces `fetch` by one that speaks nothing but HTTP/2, by prior knowledge, on one connection for all requests.
import http2 from "node:http2";

const sessions = new Map();

globalThis.fetch = async (resource, options) => {
  // Checks the arguments, and gives bodies their types, as Node's own does.
  const request = new Request(resource, options);
  const body = request.body === null ? null : Buffer.from(await request.arrayBuffer());
  const url = new URL(request.url);
  const fields = Object.fromEntries(request.headers);
  if (body !== null) fields["content-length"] = body.length;
  fields[":method"] = request.method;
  fields[":path"] = url.pathname + url.search;
  const stream = session(url.origin).request(fields, { endStream: body === null });
  if (body !== null) stream.end(body);
  return answered(stream, request);
};

function session(origin) {
  let found = sessions.get(origin);
  if (found === undefined || found.closed || found.destroyed) {
    found = http2.connect(origin);
    // Every request fails by itself when the connection does.
    found.on("error", () => sessions.delete(origin));
    sessions.set(origin, found);
  }
  return found;
}

function answered(stream, request) {
  return new Promise((resolve, reject) => {
    const fail = (error) => reject(new TypeError("fetch failed", { cause: error }));
    const abort = () => {
      stream.close(http2.constants.NGHTTP2_CANCEL);
      reject(request.signal.reason);
    };
    if (request.signal.aborted) return abort();
    request.signal.addEventListener("abort", abort);
    stream.on("error", fail);
    stream.on("close", () => {
      request.signal.removeEventListener("abort", abort);
      fail(new Error("the stream was closed before its answer"));
    });
    stream.on("response", (fields) => {
      const headers = new Headers();
      for (const [name, value] of Object.entries(fields)) {
        if (!name.startsWith(":")) headers.append(name, value);
      }
      const status = fields[":status"];
      const silent = request.method === "HEAD" || status === 204 || status === 304;
      if (silent) stream.resume();
      const response = new Response(silent ? null : pulled(stream, request.signal), { status, headers });
      resolve(Object.defineProperty(response, "url", { value: request.url }));
    });
  });
}

function pulled(stream, signal) {
  return new ReadableStream({
    start(controller) {
      stream.on("data", (piece) => {
        controller.enqueue(new Uint8Array(piece));
        if (controller.desiredSize <= 0) stream.pause();
      });
      stream.on("end", () => {
        if (!signal.aborted) controller.close();
      });
      stream.on("error", (error) => controller.error(error));
      signal.addEventListener("abort", () => controller.error(signal.reason));
    },
    pull: () => void stream.resume(),
    cancel: () => stream.close(http2.constants.NGHTTP2_CANCEL),
  });
}
