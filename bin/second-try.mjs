// Which files of a failed run are tried once more, by themselves. Real parts (brokers, clusters, databases) are slow or away at times where many tests run side by
// side: what holds in a second, quiet run is told as unstable, with what failed before, and does not fail the run.
import { readFileSync } from 'node:fs';

/** What is pure fails once and for all. */
const ON_REAL_PARTS = /^test\/(integration|conformance|chaos|parts|proofs)\//;
/** So many fail by themselves; more have one cause. */
const MOST_FILES = 3;

/** The files, or none: where something failed that a second run cannot clear. */
export function filesToTryAgain({ files, unhandled }) {
  const failed = Object.keys(files).filter((file) => files[file].failures.length > 0);
  const clearable = unhandled === 0 && failed.length <= MOST_FILES;
  return clearable && failed.every((file) => ON_REAL_PARTS.test(file) && !drawsItsCases(files[file].path))
    ? failed
    : [];
}

/** It would draw other cases the second time, and lose the one that failed. */
function drawsItsCases(path) {
  return readFileSync(path, 'utf8').includes("from 'fast-check'");
}
