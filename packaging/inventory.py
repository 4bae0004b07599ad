#!/usr/bin/env python3
"""What a program is made of, from what cargo says: an inventory (CycloneDX 1.5), and the licences of what is in it.

inventory.py SOURCE TARGET DIRECTORY writes supervise.cdx.json and licences/ there. The same source gives the same bytes."""
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import uuid


def told(source, target):
    """What cargo says of all packages, as they are for that target."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=source, check=True, stdout=subprocess.PIPE).stdout)


def linked(metadata, root):
    """The packages that end up in the program, each with those that it depends on: neither tests nor what runs at the build."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    found, left = {}, [root]
    while left:
        this = left.pop()
        if this in found:
            continue
        needs = set()
        for dependency in nodes[this]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
            if is_linked and not is_macro:
                needs.add(dependency["pkg"])
        found[this] = needs
        left.extend(needs)
    return {packages[this]["name"] + " " + packages[this]["version"]: (packages[this], needs) for this, needs in found.items()}


def name(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licence(package):
    # Some still write a slash, which is no expression.
    return (package["license"] or "NOASSERTION").replace("/", " OR ")


def component(package, sums, kind):
    described = {
        "type": kind, "bom-ref": name(package), "name": package["name"], "version": package["version"], "purl": name(package),
        "licenses": [{"expression": licence(package)}],
    }
    if package["source"] is None:
        # Ours: in no registry, and nothing that could be asked for there.
        del described["purl"]
    known = sums.get((package["name"], package["version"]))
    if known:
        described["hashes"] = [{"alg": "SHA-256", "content": known}]
    if package["repository"]:
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def inventory(source, metadata, parts, root, target):
    with open(os.path.join(source, "Cargo.lock"), "rb") as file:
        locked = tomllib.load(file)["package"]
    sums = {(one["name"], one["version"]): one["checksum"] for one in locked if "checksum" in one}
    packages = {package["id"]: package for package in metadata["packages"]}
    listed = [parts[key] for key in sorted(parts)]
    bill = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))),
            "component": component(packages[root], sums, "application"),
            "properties": [{"name": "cargo:target", "value": target}],
        },
        "components": [component(package, sums, "library") for package, _ in listed if package["id"] != root],
        "dependencies": [
            {"ref": name(package), "dependsOn": sorted(name(packages[need]) for need in needs)} for package, needs in listed
        ],
    }
    # Another number for another content, and the same for the same.
    bill["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bill, sort_keys=True)))
    return bill


def licences(parts, place):
    """Copies the texts; who has none is named, since its own words stand in the inventory."""
    without = []
    for key in sorted(parts):
        package, _ = parts[key]
        if package["source"] is None:
            continue
        home = os.path.dirname(package["manifest_path"])
        words = ("license", "licence", "copying", "notice", "unlicense")
        texts = [text for text in sorted(os.listdir(home)) if text.lower().startswith(words)]
        texts = [text for text in texts if os.path.isfile(os.path.join(home, text))]
        into = os.path.join(place, f"{package['name']}-{package['version']}")
        for text in texts:
            os.makedirs(into, exist_ok=True)
            shutil.copyfile(os.path.join(home, text), os.path.join(into, text))
        if not texts:
            without.append(f"{package['name']} {package['version']}: {licence(package)}\n")
    if without:
        with open(os.path.join(place, "without-a-text"), "w") as file:
            file.writelines(without)


def main():
    source, target, place = sys.argv[1:]
    metadata = told(source, target)
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "supervise")
    parts = linked(metadata, root)
    os.makedirs(os.path.join(place, "licences"))
    licences(parts, os.path.join(place, "licences"))
    with open(os.path.join(place, "supervise.cdx.json"), "w") as file:
        json.dump(inventory(source, metadata, parts, root, target), file, indent=1, sort_keys=True)
        file.write("\n")


main()
