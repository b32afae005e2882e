import { mkdir, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { connect } from '../client.ts';
import { download, type RemoteFile } from '../download.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showList } from '../render.ts';
import { FILES } from '../shapes.ts';
import type { Format } from '../values.ts';

/** All files that a job left, or those that are named, below a folder, each held to its SHA-256. */
export default async function artifactsGet(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  const [reference = '', ...paths] = args;
  const client = await connect(invocation);
  const id = await jobIdOf(client, reference);
  const manifest = await client.get<Row>(`/v1/jobs/${id}/artifacts`);
  const files = Array.isArray(manifest.files) ? (manifest.files as readonly RemoteFile[]) : [];
  const wanted = paths.length === 0 ? files : paths.map((path) => named(files, path));
  const folder = resolve(io.cwd, String(options.out ?? `artifacts-${id}`));
  await mkdir(folder, { recursive: true });
  const root = await realpath(folder);
  for (const file of wanted) {
    io.progress(`${file.path} (${file.size} bytes) …`);
    const came = await download(client, io, `/v1/jobs/${id}`, file, root, signal);
    if (!came) io.note(`${file.path} is there already`);
  }
  await showList(io, options.output as Format, FILES, wanted as unknown as readonly Row[]);
  return EXIT.ok;
}

function named(files: readonly RemoteFile[], path: string): RemoteFile {
  const file = files.find((one) => one.path === path);
  if (file !== undefined) return file;
  throw new CliError(EXIT.notFound, 'not_found', `the job left no ${JSON.stringify(path)}`, {
    mend: 'see "merit artifacts ls JOB"',
  });
}
