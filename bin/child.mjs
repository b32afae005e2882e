// Runs an installer (npm, pip) as a child: its output kept for the case that it fails, its end tied to ours.
import { spawn } from 'node:child_process';

const OUTPUT_TAIL_BYTES = 64 * 1024;
/** While it works, a sign of life this often. */
const SIGN_OF_LIFE_MS = 15_000;

/** An interrupt while installing: told by exit code 130 (SIGINT) or 143 (SIGTERM). */
export class Interrupted extends Error {
  constructor(signal) {
    super(`interrupted by ${signal}`);
    this.exitCode = signal === 'SIGINT' ? 130 : 143;
  }
}

/**
 * Resolves with {code, tail}: the exit code (-1 where it could not be started) and the last of what it wrote. Rejects with Interrupted
 * when this process is asked to end; the child is ended first. `channel`: a Node child that preloads end-with-parent.mjs.
 */
export function runChild(command, args, options = {}) {
  const say = options.say ?? (() => {});
  const startedAt = Date.now();
  return new Promise((resolve, reject) => {
    let tail = '';
    let interrupted;
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: options.channel === true ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['ignore', 'pipe', 'pipe'],
    });
    const keep = (chunk) => {
      tail = (tail + chunk).slice(-OUTPUT_TAIL_BYTES);
      options.hear?.(String(chunk));
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const timer = setInterval(
      () => say(`  … still at it (${Math.round((Date.now() - startedAt) / 1000)} s)`),
      SIGN_OF_LIFE_MS,
    );
    const stop = (signal) => {
      interrupted = signal;
      child.kill('SIGTERM');
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
    const settle = (result) => {
      clearInterval(timer);
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
      if (interrupted === undefined) resolve(result);
      else reject(new Interrupted(interrupted));
    };
    child.on('error', (error) => settle({ code: -1, tail: error.message }));
    child.on('close', (code) => settle({ code: code ?? 1, tail }));
  });
}

/** What a failed installer's output says to a person who can mend it; undefined where it is none of the usual causes. */
export function usualCause(tail) {
  if (/ENOSPC|No space left on device/i.test(tail))
    return ['the disk is full', 'free at least 2 GB and run this again'];
  if (/EROFS|Read-only file system/i.test(tail))
    return ['the file system is read-only', 'use a clone and a home folder that can be written'];
  if (/EACCES|EPERM|Permission denied/i.test(tail))
    return ['a folder may not be written by this user', 'check who owns the clone and the cache folder'];
  if (
    /ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|Temporary failure in name resolution|NewConnectionError|Connection refused|ConnectTimeout/i.test(
      tail,
    )
  ) {
    return [
      'the package registry could not be reached',
      'check the network, proxy and registry settings, and run this again',
    ];
  }
  return undefined;
}

/** What npm says is wrong stands first, its manual after it. */
export function firstErrors(output, count = 8) {
  const lines = output
    .split('\n')
    .filter((line) => line.startsWith('npm error'))
    .map((line) => line.slice('npm error'.length).trim())
    .filter((line) => line !== '');
  return lines
    .slice(0, count)
    .map((line) => `    ${line}`)
    .join('\n');
}

/** The last lines of a tool's output, indented, for a message. */
export function lastLines(tail, count = 8) {
  const lines = tail.trim().split('\n').slice(-count);
  return lines.map((line) => `    ${line}`).join('\n');
}
