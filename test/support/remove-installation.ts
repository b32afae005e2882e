import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { stateLayout } from '../../platform/state-layout.ts';

/** Takes away an installation that has ended: its state folder, and root's Postgres data where that lies elsewhere. */
export async function removeInstallation(stateDir: string): Promise<void> {
  if (!existsSync(stateDir)) return;
  const { dataDir } = await stateLayout({ stateDir });
  rmSync(stateDir, { recursive: true, force: true });
  if (existsSync(dataDir)) rmSync(dirname(dataDir), { recursive: true, force: true });
}
