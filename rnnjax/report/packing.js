// Arrays that the page carries as base64 of gzip in a script of their own.

async function arraysIn(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const canUnpack = () => typeof DecompressionStream !== "undefined";
const UNPACKERS = "DecompressionStream, which Chrome and Edge have from version 80, Firefox from 113, Safari from 16.4.";
