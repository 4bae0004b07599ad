# A crate with a build script and a dependency, built twice.
cd hello; cargo build --offline --quiet; target/debug/hello; cargo build --offline --quiet; cargo run --offline --quiet; touch src/main.rs; cargo build --offline --quiet && echo again; cargo clean --offline --quiet; ls
