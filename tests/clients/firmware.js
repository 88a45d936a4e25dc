// The product firmware methods of particle-api-js, unmodified, against a server with a device in the product.
const Particle = require('particle-api-js');
const fs = require('fs');
const { env } = process;
const particle = new Particle({ baseUrl: env.API_BASE_URL });
const auth = env.API_TOKEN;
const product = env.PRODUCT;
const deviceId = env.DEVICE_ID;

function check(what, holds) {
	if (!holds) {
		throw new Error(what);
	}
	console.log(`ok ${what}`);
}

async function runs(version) {
	for (let i = 0; i < 240; i++) {
		const { body } = await particle.getDevice({ deviceId, product, auth });
		if (body.firmware_version === version) {
			return true;
		}
		await new Promise((resolve) => setTimeout(resolve, 250));
	}
	return false;
}

async function main() {
	for (const version of [1, 2]) {
		const file = fs.readFileSync(env[`FILE_${version}`]);
		const made = await particle.uploadProductFirmware({
			product, version, title: `v${version}`, description: 'd', file, auth
		});
		check(`upload ${version}`, made.statusCode === 201 && made.body.version === version);
	}
	const list = await particle.listProductFirmware({ product, auth });
	check('list', list.body.length === 2);
	const one = await particle.getProductFirmware({ product, version: 1, auth });
	check('get', one.body.title === 'v1');
	const binary = await particle.downloadProductFirmware({ product, version: 1, auth });
	check('download', Buffer.compare(Buffer.from(binary), fs.readFileSync(env.FILE_1)) === 0);
	await particle.releaseProductFirmware({ product, version: 1, product_default: true, groups: [], intelligent: true, auth });
	check('release', await runs(1));
	await particle.lockDeviceProductFirmware({ deviceId, product, desiredFirmwareVersion: 2, flash: true, auth });
	check('lock', await runs(2));
	await particle.unlockDeviceProductFirmware({ deviceId, product, auth });
	check('unlock', await runs(1));
}

main().catch((why) => {
	console.log(`FAIL ${why.message} ${JSON.stringify(why.body || {})}`);
	process.exitCode = 1;
});
