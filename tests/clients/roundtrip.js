'use strict';
// Drives an unmodified particle-api-js against a running server: log in, list, read a variable of each
// type, call functions, see a device's publish and an API publish on streams, for every device given.
//   API_BASE_URL API_USERNAME API_PASSWORD DEVICES='[{"id":…,"profile":…}]'
const Particle = require('particle-api-js');

const { API_BASE_URL: baseUrl, API_USERNAME: username, API_PASSWORD: password } = process.env;
const devices = JSON.parse(process.env.DEVICES);
const particle = new Particle({ baseUrl });
let failures = 0;

async function check(name, run) {
	try {
		await run();
		console.log(`ok ${name}`);
	} catch (why) {
		failures++;
		console.log(`FAILED ${name}: ${why.errorDescription || why.message || JSON.stringify(why)}`);
	}
}

function equal(found, wanted) {
	if (JSON.stringify(found) !== JSON.stringify(wanted)) {
		throw new Error(`expected ${JSON.stringify(wanted)}, found ${JSON.stringify(found)}`);
	}
}

function nextEvent(stream, wanted, ms) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`no such event within ${ms} ms`)), ms);
		stream.on('event', (event) => {
			if (wanted(event)) {
				clearTimeout(timer);
				resolve(event);
			}
		});
	});
}

async function online(auth, id) {
	for (let tries = 0; tries < 100; tries++) {
		const { body } = await particle.getDevice({ deviceId: id, auth });
		if (body.connected && body.functions) return;
		await new Promise((resolve) => setTimeout(resolve, 200));
	}
	throw new Error('not online and described within 20 s');
}

(async () => {
	const { body: { access_token: auth } } = await particle.login({ username, password });
	await check('list shows every device', async () => {
		const { body } = await particle.listDevices({ auth });
		equal(devices.map((d) => body.some((shown) => shown.id === d.id)), devices.map(() => true));
	});
	for (const { id, profile } of devices) {
		const read = async (name) => (await particle.getVariable({ deviceId: id, name, auth })).body.result;
		const call = async (name, argument) =>
			(await particle.callFunction({ deviceId: id, name, argument, auth })).body.return_value;
		await check(`${profile}: comes online`, () => online(auth, id));
		await check(`${profile}: variables of each type`, async () => {
			equal(await read('v_int'), 42);
			equal(await read('v_double'), 3.25);
			equal(await read('v_string'), 'hello');
			equal(await read('v_bool'), true);
		});
		await check(`${profile}: functions`, async () => {
			equal(await call('echo', 'hello world'), 11);
			equal(await call('echo', ''), 0);
			equal((await call('neg', 'x')) < 0, true);
		});
		await check(`${profile}: an unknown function and variable are 404`, async () => {
			for (const wrong of [() => read('nosuch'), () => call('nosuch', '')]) {
				const status = await wrong().then(() => 200, (why) => why.statusCode);
				equal(status, 404);
			}
		});
		await check(`${profile}: its publish reaches a stream`, async () => {
			const stream = await particle.getEventStream({ deviceId: id, auth });
			try {
				const event = await nextEvent(stream, (e) => !e.name.startsWith('spark/'), 20000);
				equal(event.coreid, id);
			} finally {
				stream.abort();
			}
		});
	}
	await check('an API publish reaches a stream', async () => {
		const stream = await particle.getEventStream({ deviceId: 'mine', name: 'roundtrip', auth });
		try {
			const seen = nextEvent(stream, (e) => e.name === 'roundtrip/x', 5000);
			await particle.publishEvent({ name: 'roundtrip/x', data: 'héllo', auth });
			equal((await seen).data, 'héllo');
		} finally {
			stream.abort();
		}
	});
	process.exit(failures ? 1 : 0);
})().catch((why) => {
	console.error(why);
	process.exit(2);
});
