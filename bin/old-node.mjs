// The first thing each entry asks, in syntax that very old versions of Node still read. Returns true where Node is too old, having said so.
export function tooOld(version = process.versions.node) {
  if (Number(version.split('.')[0]) >= 20) return false;
  process.stderr.write(
    `merit: Node 20 or later is needed to start, this is ${version}\n  mend: install Node 20 or later from nodejs.org\n`,
  );
  process.exitCode = 78;
  return true;
}
