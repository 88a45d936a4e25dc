//! Takes the console's three JavaScript libraries from npm, as `console/package-lock.json` pins them by
//! hash. Cargo runs this again only when that file changes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is embedded: the file in `node_modules`, and its name among the console's assets.
const FILES: [(&str, &str); 4] = [
    ("lean-qr/index.mjs", "lean-qr.js"),
    ("lit-html/lit-html.js", "lit-html.js"),
    ("uplot/dist/uPlot.iife.min.js", "uplot.js"),
    ("uplot/dist/uPlot.min.css", "uplot.css"),
];
const LICENCES: [&str; 3] = ["lean-qr/LICENSE", "lit-html/LICENSE", "uplot/LICENSE"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=console/package.json");
    println!("cargo::rerun-if-changed=console/package-lock.json");
    if let Err(why) = take_libraries() {
        println!("cargo::error=the console's libraries: {why}");
    }
}

fn take_libraries() -> Result<(), String> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo sets OUT_DIR")?;
    let folder = out.join("npm");
    fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        copy(&Path::new("console").join(name), &folder.join(name))?;
    }
    install(&folder)?;
    let modules = folder.join("node_modules");
    for (from, to) in FILES {
        copy(&modules.join(from), &out.join(to))?;
    }
    as_module(&out.join("uplot.js"))?;
    let licences: Result<Vec<String>, String> = LICENCES
        .iter()
        .map(|name| {
            let text = fs::read_to_string(modules.join(name));
            Ok(format!("{name}\n\n{}", text.map_err(|why| format!("{name}: {why}"))?))
        })
        .collect();
    fs::write(out.join("licences.txt"), licences?.join("\n\n"))
        .map_err(|why| format!("licences.txt: {why}"))
}

fn install(folder: &Path) -> Result<(), String> {
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"])
        .current_dir(folder)
        .output()
        .map_err(|why| format!("npm does not start ({why}): install Node.js with npm"))?;
    if npm.status.success() {
        return Ok(());
    }
    Err(format!("npm ci failed: {}", String::from_utf8_lossy(&npm.stderr).replace('\n', " ")))
}

/// The minified file comes as a script that sets a global; the console's modules import it.
fn as_module(file: &Path) -> Result<(), String> {
    let told = |why: std::io::Error| format!("{}: {why}", file.display());
    let script = fs::read_to_string(file).map_err(told)?;
    fs::write(file, format!("{script}\nexport default uPlot;\n")).map_err(told)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(|why| format!("{}: {why}", from.display()))
}
