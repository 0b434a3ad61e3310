//! Inputs: the item's version and no other, whatever its key.

use std::fs;

use storage::{Error, Input, Object, Store};
use test_servers::S3Server;

use super::super::{Worker, World};
use storage_s3::PublishMode;

on_both!(
    keys_are_bytes,
    a_version_is_held,
    what_names_no_version_may_change_before_but_not_during,
    names_do_not_collide
);

fn object(world: &World, key: &str, version: Option<&str>) -> Object {
    Object { uri: world.uri(key), version: version.map(str::to_owned), version_id: None, size: None }
}

async fn fetch(world: &World, worker: &Worker, object: &Object) -> Result<Box<dyn Input>, Error> {
    let inputs = worker.store.inputs(&world.uri("in")).expect("a root");
    assert!(inputs.key(&object.uri).is_some(), "{} is inside", object.uri);
    inputs.fetch(object, worker.scratch.path()).await
}

async fn keys_are_bytes(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::InPlace).await;
    for key in ["in/a b+c%20é?#&.mp4", "in/d/e/..f/ü\u{1f600}", "in/-rf", "in/%2e%2e/x", "in/'\"$(x)`"] {
        let etag = world.put(key, key.as_bytes()).await;
        let input =
            fetch(&world, &worker, &object(&world, key, Some(&etag))).await.unwrap_or_else(|e| panic!("{key}: {e:?}"));
        assert_eq!(fs::read(input.path()).expect("is there"), key.as_bytes());
        assert_eq!(input.path().parent(), Some(worker.scratch.path()));
        input.verify().await.expect("nothing has changed");
    }
    worker.store.inputs(&world.uri("in/")).expect("a root").check().await.expect("it can be listed");
}

async fn a_version_is_held(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::InPlace).await;
    let old = world.put("in/a", b"one").await;
    let input = fetch(&world, &worker, &object(&world, "in/a", Some(&old))).await.expect("fetched");
    let new = world.put("in/a", b"two").await;
    for refused in [input.verify().await.err(), fetch(&world, &worker, &object(&world, "in/a", Some(&old))).await.err()]
    {
        match refused {
            Some(Error::Changed { wanted, found, .. }) => assert_eq!((&wanted, &found), (&old, &new)),
            other => panic!("{other:?}"),
        }
    }
    let quoted = format!("\"{new}\"");
    fetch(&world, &worker, &object(&world, "in/a", Some(&quoted))).await.expect("some sources keep the quotes");
    world.delete("in/a").await;
    assert!(matches!(input.verify().await, Err(Error::NotFound(_))));
    let gone = fetch(&world, &worker, &object(&world, "in/a", Some(&new))).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "deleted since it was listed: {gone:?}");
    let left = fs::read_dir(worker.scratch.path()).expect("lists").count();
    assert_eq!(left, 2, "what was fetched; nothing of what could not be");
}

async fn what_names_no_version_may_change_before_but_not_during(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::InPlace).await;
    world.put("in/a", b"one").await;
    world.put("in/a", b"two").await;
    let input = fetch(&world, &worker, &object(&world, "in/a", None)).await.expect("fetched");
    assert_eq!(fs::read(input.path()).expect("is there"), b"two");
    input.verify().await.expect("nothing has changed");
    world.put("in/a", b"three").await;
    assert!(matches!(input.verify().await, Err(Error::Busy(_))), "nobody else would come for it");
}

async fn names_do_not_collide(server: &'static S3Server) {
    let world = World::new(server).await;
    let worker = world.worker(PublishMode::InPlace).await;
    world.put("in/x/a.mp4", b"x").await;
    world.put("in/y/a.mp4", b"y").await;
    let (x, y) = (object(&world, "in/x/a.mp4", None), object(&world, "in/y/a.mp4", None));
    let (x, y) = tokio::join!(fetch(&world, &worker, &x), fetch(&world, &worker, &y));
    let (x, y) = (x.expect("fetched"), y.expect("fetched"));
    assert_eq!(fs::read(x.path()).expect("is there"), b"x");
    assert_eq!(fs::read(y.path()).expect("is there"), b"y");
    assert!([&x, &y].iter().all(|input| input.path().extension().is_some_and(|extension| extension == "mp4")));
}

#[tokio::test]
async fn in_a_bucket_that_keeps_versions_the_id_is_what_counts() {
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
    let world = World::new(S3Server::shared_minio()).await;
    let keep = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let kept = world.client.put_bucket_versioning().bucket(&world.bucket).versioning_configuration(keep).send().await;
    kept.expect("versions are kept");
    let worker = world.worker(PublishMode::InPlace).await;
    let put = async || {
        let put =
            world.client.put_object().bucket(&world.bucket).key("in/a").body(b"same".to_vec().into()).send().await;
        let put = put.expect("put");
        let version_id = put.version_id().map(str::to_owned);
        Object { version_id, ..object(&world, "in/a", Some(put.e_tag().unwrap_or_default())) }
    };
    let old = put().await;
    let input = fetch(&world, &worker, &old).await.expect("fetched");
    input.verify().await.expect("nothing has changed");
    let new = put().await;
    assert_eq!(old.version, new.version, "the same content");
    for refused in [input.verify().await.err(), fetch(&world, &worker, &old).await.err()] {
        let Some(Error::Changed { wanted, found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!((Some(wanted), Some(found)), (old.version_id.clone(), new.version_id.clone()));
    }
    let input = fetch(&world, &worker, &new).await.expect("fetched");
    world.delete("in/a").await;
    for refused in [input.verify().await.err(), fetch(&world, &worker, &new).await.err()] {
        assert!(matches!(refused, Some(Error::NotFound(_))), "behind a delete marker: {refused:?}");
    }
}
