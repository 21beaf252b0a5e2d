/** The whole deployment of one stage: subsystems in the order in which they need each other. */
import { CfnOutput, Stack, type StackProps, Tags } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Bus } from './bus.ts';
import type { Config } from './config.ts';
import { Functions } from './functions.ts';
import { Gateway } from './gateway.ts';
import { Monitoring } from './monitoring.ts';
import { Tables } from './tables.ts';
import { Web } from './web.ts';

export interface WebchatProps extends StackProps {
  readonly config: Config;
  /** The zip with `bootstrap`. */
  readonly bundle: string;
}

export class Webchat extends Stack {
  constructor(scope: Construct, { config, bundle, ...props }: WebchatProps) {
    super(scope, `webchat-${config.stage}`, {
      description: `webchat ${config.stage}: an event-sourced WebSocket chat`,
      tags: { app: 'webchat', stage: config.stage },
      ...props,
    });
    const tables = new Tables(this, config);
    const bus = new Bus(this, config);
    const gateway = new Gateway(this, config);
    const web = config.web ? new Web(this, config, gateway) : undefined;
    const allowedOrigins = [...config.allowedOrigins, ...(web ? [web.origin] : [])];
    const functions = new Functions(this, { config, bundle, tables, bus, gateway, allowedOrigins });
    gateway.addRoutes(functions.all);
    bus.addRules(functions.all.post, functions.all.manage);
    new Monitoring(this, { config, tables, bus, gateway, functions });

    // `webchat url --stage` reads it: a table's tags are in reach of whoever can read the tables.
    Tags.of(tables.connections).add('webchat:url', gateway.url);

    const output = (name: string, value: string, description: string) =>
      new CfnOutput(this, name, { value, description });
    output('Url', gateway.url, 'where clients connect: wscat -c <url>');
    output('EventsTable', tables.events.tableName, 'what happened; outlives the stack');
    output('ConnectionsTable', tables.connections.tableName, 'the view of live connections');
    output('ParkedTable', tables.parked.tableName, 'records the projector set aside');
    // `make deploy` reads it back: what a later deployment does not choose stays as it is.
    output('Settings', settings(config), 'what was chosen');
    output('BusName', bus.bus.eventBusName, 'where notices travel');
    if (web) {
      output('Page', `${web.origin}/`, 'the chat in a browser');
      output('PageBucket', web.bucket.bucketName, 'what it is served from; `make deploy` fills it');
      output('PageDistribution', web.distribution.distributionId, 'what serves it');
    }
  }
}

function settings({ auth, allowedOrigins, web, retentionDays, alarmEmail, arch }: Config): string {
  const texts = { allowedOrigins: allowedOrigins.join(','), web: String(web) };
  return JSON.stringify({ auth, ...texts, retentionDays, alarmEmail, arch });
}
