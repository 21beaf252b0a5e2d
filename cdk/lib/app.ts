/** The app: the stack of one stage and the account's, checked by cdk-nag. `bin/webchat.ts` and the tests make it. */
import { App, type AppProps, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { Account } from './account.ts';
import { readConfig } from './config.ts';
import { Webchat } from './stack.ts';

/** `bundleOf` says where the zip for an architecture is. */
export function webchat(bundleOf: (arch: string) => string, props?: AppProps): { app: App; stack: Webchat } {
  const app = new App(props);
  const config = readConfig(app.node.getAllContext());
  new Account(app);
  const stack = new Webchat(app, { config, bundle: bundleOf(config.arch) });
  // A finding that nobody acknowledged with a reason fails the synthesis.
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return { app, stack };
}
