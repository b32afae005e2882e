export { packageUri, RayJobClient, type RayJobClientOptions, type RayVersion } from './client.ts';
export { RayJobError, type RayJobErrorCode } from './errors.ts';
export { RAY_JOB_STATUSES, type RayJob, type RayJobStatus, type SubmitRequest } from './job.ts';
export { PACKAGE_LIMIT_BYTES, RETRY_AFTER_LIMIT_MS } from './limits.ts';
export type { RayNode } from './node-resources.ts';
export type { RayWorker } from './node-workers.ts';
export type { Token } from './token.ts';
export { ZipWriter } from './zip.ts';
export { type FolderFile, folderFiles, type ZippedFolder, zipFolder } from './zip-folder.ts';
