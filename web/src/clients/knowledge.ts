/** Collections of documents to answer from. */
import { getList, sendFile, sendJson } from "../http";

const id = encodeURIComponent;

export interface Collection {
  id: string;
  name: string;
  shared: boolean;
  mine: boolean;
  editable: boolean;
  files: number;
  passages: number;
  created_at: string;
}

export interface CollectionFile {
  id: string;
  name: string;
  size: number;
  status: "pending" | "ready" | "failed";
  problem: string | null;
  passages: number;
  created_at: string;
}

export const listCollections = () => getList<Collection>("/collections");
export const createCollection = (name: string, shared: boolean) =>
  sendJson<Collection>("POST", "/collections", { name, shared });
export const changeCollection = (one: string, changes: { name?: string; shared?: boolean }) =>
  sendJson<Collection>("PATCH", `/collections/${id(one)}`, changes);
export const deleteCollection = (one: string) => sendJson("DELETE", `/collections/${id(one)}`);

export const listFiles = (collection: string) => getList<CollectionFile>(`/collections/${id(collection)}/files`);
export const addFile = (collection: string, file: File, onProgress: (share: number) => void) =>
  sendFile<CollectionFile>(`/collections/${id(collection)}/files`, file, onProgress);
export const deleteFile = (collection: string, file: string) =>
  sendJson("DELETE", `/collections/${id(collection)}/files/${id(file)}`);
