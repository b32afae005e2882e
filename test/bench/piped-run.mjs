// A command of `merit` fed with made reports through a pipe: what it said, the CPU time it took on the way, its greatest memory.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { needNode, ROOT } from '../../bin/launch.mjs';

/** Written at once; the reader's pace decides when the next piece is made. */
const PIECE_BYTES = 65_536;
/** What /proc/PID/stat counts in. */
const TICK_MS = 10;

/** mulberry32: the same reports on every machine. */
export function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Sends `count` lines at the reader's pace; `onMark` is called behind the line of each number in `marks`. */
async function send(stream, lineAt, count, marks, onMark) {
  let piece = '';
  for (let i = 0; i < count; i++) {
    piece += lineAt(i);
    const marked = marks.includes(i + 1);
    if (piece.length < PIECE_BYTES && !marked && i + 1 < count) continue;
    if (!stream.write(piece)) await once(stream, 'drain');
    piece = '';
    if (marked) onMark(i + 1);
  }
  stream.end();
}

function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Tells on fd 3 what the process used, when it ends. */
export const TELL_USAGE =
  "data:text/javascript,import{writeSync}from'node:fs';process.on('exit',()=>writeSync(3,JSON.stringify(process.resourceUsage())))";

export async function textOf(stream) {
  let text = '';
  for await (const part of stream.setEncoding('utf8')) text += part;
  return text;
}

async function linesOf(stream) {
  let lines = 0;
  for await (const part of stream) for (const byte of part) if (byte === 0x0a) lines++;
  return lines;
}

/** `merit ARGS… --reports - -o json` over `count` lines, with the CPU time used when the line of each of `marks` was sent. */
export async function pipedRun(args, lineAt, count, marks) {
  const command = [join(ROOT, 'api/cli/main.ts'), ...args, '--reports', '-', '-o', 'json'];
  const child = spawn(needNode(), ['--conditions=merit-source', `--import=${TELL_USAGE}`, ...command], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  const stretches = [];
  const [out, told, usage, [code]] = await Promise.all([
    textOf(child.stdout),
    linesOf(child.stderr),
    textOf(child.stdio[3]),
    once(child, 'exit'),
    send(child.stdin, lineAt, count, marks, (lines) => stretches.push({ lines, cpuMs: cpuMs(child.pid) })),
  ]);
  if (code !== 0) throw new Error(`merit ${args[0]} ended with ${code}`);
  const { maxRSS, userCPUTime, systemCPUTime } = JSON.parse(usage);
  return {
    result: JSON.parse(out),
    told,
    rssMib: maxRSS / 1024,
    cpuMs: (userCPUTime + systemCPUTime) / 1000,
    stretches,
  };
}
